//! libFuzzer's door to `fuzzing::page_tokens`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::page_tokens(input));
