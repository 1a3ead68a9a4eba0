//! What is shipped has no fault planted in it, and no point at which it can be made to die: those are
//! for `make faults`, in a build with `--cfg mutants` alone.

const NAMES: [&str; 17] = [
    "ITSM_MUTANT",
    "ITSM_FAIL_POINT",
    "acknowledge_before_commit",
    "journal_outside_transaction",
    "feed_by_last_seq",
    "relay_marks_before_publish",
    "gap_ignored",
    "position_in_own_transaction",
    "no_position_check",
    "timer_without_compare",
    "stale_lease_acts",
    "request_id_ignored",
    "intake_by_msg_id",
    "send_before_attempt",
    "command.before_commit",
    "relay.after_take",
    "delivery.after_send",
];

#[test]
fn the_binary_has_no_planted_fault() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_itsm")).unwrap();
    let has = |text: &str| binary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("ITSM_SECRET_KEY_FILE"), "a name that is in it is found");
    let planted: Vec<&str> = NAMES.into_iter().filter(|name| has(name)).collect();
    assert!(planted.is_empty(), "{planted:?}");
}
