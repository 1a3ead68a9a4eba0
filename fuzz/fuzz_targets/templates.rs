//! libFuzzer's door to `fuzzing::templates`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::templates(input));
