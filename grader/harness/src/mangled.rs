//! Inputs for parsers: valid ones that have met with mishaps. The tests of the grader compile this file as well.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// How many cases of each property are tried.
pub fn some() -> ProptestConfig {
    let cases = std::env::var_os("PROPTEST_CASES").map_or(500, |_| ProptestConfig::default().cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What happens to a text on its way.
#[derive(Debug, Clone)]
enum Mishap {
    Changed(Index, u8),
    Inserted(Index, Vec<u8>),
    Lost(Index, Index),
    Doubled(Index, Index),
}

fn mishap(words: &'static [&'static str]) -> impl Strategy<Value = Mishap> {
    let inserted = prop_oneof![
        vec(any::<u8>(), 1..4),
        proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
    ];
    prop_oneof![
        3 => any::<(Index, u8)>().prop_map(|(at, byte)| Mishap::Changed(at, byte)),
        2 => (any::<Index>(), inserted).prop_map(|(at, bytes)| Mishap::Inserted(at, bytes)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Mishap::Lost(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Mishap::Doubled(from, to)),
    ]
}

fn range(bytes: &[u8], from: &Index, to: &Index) -> Range<usize> {
    let (one, other) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
    one.min(other)..one.max(other)
}

fn happen(bytes: &mut Vec<u8>, mishap: &Mishap) {
    match mishap {
        Mishap::Changed(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mishap::Changed(..) => {}
        Mishap::Inserted(at, new) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, new.iter().copied());
        }
        Mishap::Lost(from, to) => drop(bytes.drain(range(bytes, from, to))),
        Mishap::Doubled(from, to) => {
            let range = range(bytes, from, to);
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, copy);
        }
    }
}

/// A valid input that has met with up to six mishaps; some insert one of `words`.
pub fn mangled(valid: impl AsRef<[u8]>, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let valid = valid.as_ref().to_vec();
    vec(mishap(words), 0..7).prop_map(move |mishaps| {
        let mut bytes = valid.clone();
        mishaps.iter().for_each(|mishap| happen(&mut bytes, mishap));
        bytes
    })
}
