//! A table of machines: never a panic, and what it says is read back as it is written.
#![no_main]

use std::collections::BTreeMap;

use bivouac::model::label::Labels;
use bivouac::model::ledger::Record;
use bivouac::wire::fleet_table::{decode, encode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for said in decode(bytes).into_iter().flatten().filter_map(|line| line.said.ok()) {
        let labels = said.labels.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        let vars: BTreeMap<_, _> =
            said.vars.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        let record = Record { labels, vars, ..Record::default() };
        let again = decode(&encode(&[(&said.mac.into(), &record)]).expect("it can be written")).expect("it is a table");
        let again = again.into_iter().next().expect("a line").said.expect("it can be read");
        let kept = again.labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect::<Labels>();
        assert_eq!(kept, record.labels);
        let kept = again.vars.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<BTreeMap<_, _>>();
        assert_eq!(kept, record.vars);
    }
});
