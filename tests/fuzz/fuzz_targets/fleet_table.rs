//! A table of machines: never a panic, and what it says is read back as it is written.
#![no_main]

use std::collections::BTreeMap;

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
        let with = |labels: BTreeMap<_, _>| labels.into_iter().filter(|(_, value)| value.is_some()).collect::<Vec<_>>();
        assert_eq!(with(again.labels), with(said.labels));
        let kept = again.vars.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<BTreeMap<_, _>>();
        assert_eq!(kept, record.vars);
    }
});
