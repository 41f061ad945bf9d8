//! The templates of a bundle, and making files from them: never a panic, and an end.
#![no_main]

use bivouac::model::identity::Identity;
use bivouac::model::label::{Label, Labels};
use bivouac::model::template::{Renderer, TemplateSet, Vars};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = TemplateSet::parse(bytes) else { return };
    assert_eq!(TemplateSet::parse(&set.to_bytes()).expect("what was read can be written"), set);
    let Ok(renderer) = Renderer::new(set) else { return };
    // Only that it returns counts.
    let _ = renderer.check();
    let machine = Identity::of("52:54:00:00:00:01".parse().expect("an address"));
    let Label { key, value } = "site=berlin".parse().expect("a label");
    let _ = renderer.render(&machine, &Labels::from([(key, value)]), &Vars::new());
});
