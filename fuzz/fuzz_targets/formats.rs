//! libFuzzer's door to `fuzzing::formats`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::formats(input));
