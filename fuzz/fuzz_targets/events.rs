//! libFuzzer's door to `fuzzing::events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::events(input));
