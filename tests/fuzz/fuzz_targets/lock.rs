//! Locks: never a panic; what is read comes back as it was written.
#![no_main]

use bivouac::model::lock::Lock;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(Lock::parse(&lock.to_text()).ok().as_ref(), Some(&lock));
        assert!(lock.changes(&lock).is_empty());
    }
});
