//! libFuzzer's door to `fuzzing::filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::filters(input));
