//! What a check process tells the grader, and a worker its check, fed with what neither would say: nothing panics, nothing takes
//! more room than its frame, and what is written is read back. How often: see the grader's `properties.rs`.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::event::{Event, Finding, Line, LineKind, MAX_FRAME, MAX_LINE, MAX_LINES, MAX_TEXT, Place};
use crate::mangled::{mangled, some};
use crate::wire;

fn place() -> impl Strategy<Value = Option<Place>> {
    let place = (any::<String>(), any::<u32>(), any::<u32>());
    proptest::option::of(place.prop_map(|(file, line, column)| Place { file, line, column }))
}

fn line() -> impl Strategy<Value = Line> {
    const KINDS: &[LineKind] = &[LineKind::Header, LineKind::Step, LineKind::Wrong, LineKind::Remark];
    (proptest::sample::select(KINDS), any::<String>()).prop_map(|(kind, text)| Line { kind, text })
}

fn finding() -> impl Strategy<Value = Finding> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    (texts, vec(line(), 0..4), any::<u32>(), place()).prop_map(
        |((headline, cause, schedule, coverage), timeline, preemptions, place)| Finding {
            headline,
            cause,
            timeline,
            schedule,
            preemptions,
            coverage,
            place,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let text = any::<String>;
    prop_oneof![
        any::<u64>().prop_map(|seed| Event::Started { seed }),
        text().prop_map(|text| Event::Note { text }),
        (text(), text(), text(), place()).prop_map(|(expected, observed, look, place)| Event::Failed {
            expected,
            observed,
            look,
            place
        }),
        (text(), place()).prop_map(|(how, place)| Event::Crashed { how, place }),
        text().prop_map(|why| Event::TimedOut { why }),
        (text(), place()).prop_map(|(todo, place)| Event::Unimplemented { todo, place }),
        text().prop_map(|what| Event::Leaked { what }),
        text().prop_map(|why| Event::Inconclusive { why }),
        (text(), any::<u64>(), vec(any::<u8>(), 0..16))
            .prop_map(|(rule, address, bytes)| Event::Instruction { rule, address, bytes }),
        finding().prop_map(Event::Found),
        line().prop_map(Event::Stepped),
        any::<bool>().prop_map(|fits| Event::Replayed { fits }),
        Just(Event::Finished),
    ]
}

/// What an event holds, in bytes.
fn size(event: &Event) -> usize {
    let of = |place: &Option<Place>| place.as_ref().map_or(0, |place| place.file.len());
    match event {
        Event::Note { text: one } | Event::TimedOut { why: one } => one.len(),
        Event::Leaked { what: one } | Event::Inconclusive { why: one } => one.len(),
        Event::Failed { expected, observed, look, place } => {
            expected.len() + observed.len() + look.len() + of(place)
        }
        Event::Crashed { how: text, place } | Event::Unimplemented { todo: text, place } => {
            text.len() + of(place)
        }
        Event::Instruction { rule, bytes, .. } => rule.len() + bytes.len(),
        Event::Found(Finding { headline, cause, timeline, schedule, coverage, place, .. }) => {
            let lines: usize = timeline.iter().map(|line| line.text.len()).sum();
            headline.len() + cause.len() + schedule.len() + coverage.len() + lines + of(place)
        }
        Event::Stepped(line) => line.text.len(),
        Event::Started { .. } | Event::Replayed { .. } | Event::Finished => 0,
    }
}

/// A frame as it would be written, to be mangled.
fn frame() -> Vec<u8> {
    let place = || Some(Place { file: "src/lib.rs".into(), line: 12, column: 5 });
    let line = |kind| Line { kind, text: "│ ✗".into() };
    Event::Found(Finding {
        headline: "h".into(),
        cause: "c".into(),
        timeline: [LineKind::Header, LineKind::Wrong].map(line).into(),
        schedule: "1:17t2".into(),
        preemptions: 2,
        coverage: "m".into(),
        place: place(),
    })
    .encode()
}

const FRAMES: &[&str] =
    &["\0\0\0\0\0\0\0\0", "\u{1}\0\0\0\0\0\0\0", "\u{7f}\u{7f}\u{7f}\u{7f}", "\u{3}", "\u{9}", "\u{d}"];

type Answer = (String, Option<(u8, String, Vec<(u8, String)>)>, Result<(u64, f64), char>, Vec<()>);

proptest! {
    #![proptest_config(some())]

    #[test]
    fn frames_of_random_bytes(tag in 0..16_u8, bytes in vec(any::<u8>(), 0..120)) {
        let frame: Vec<u8> = [tag].into_iter().chain(bytes).collect();
        if let Ok(event) = Event::decode(&frame) {
            prop_assert!(size(&event) <= frame.len());
        }
    }

    #[test]
    fn mangled_frames(frame in mangled(frame(), FRAMES)) {
        if let Ok(event) = Event::decode(&frame) {
            prop_assert!(size(&event) <= frame.len());
            // What is too long is cut, what is left is the same.
            prop_assert!(Event::decode(&event.encode()).is_ok());
        }
    }

    #[test]
    fn events_survive_the_trip(event in event()) {
        let frame = event.encode();
        prop_assert!(frame.len() <= MAX_FRAME);
        prop_assert_eq!(Event::decode(&frame), Ok(event));
    }

    #[test]
    fn long_events_fit_a_frame(event in event(), times in 1..40_usize) {
        let long = |text: &mut String| *text = text.repeat(times * 10);
        let mut event = event;
        match &mut event {
            Event::Failed { expected, observed, look, .. } => [expected, observed, look].into_iter().for_each(long),
            Event::Crashed { how, .. } => long(how),
            Event::Found(finding) => {
                [&mut finding.headline, &mut finding.cause, &mut finding.schedule].into_iter().for_each(long);
                finding.timeline = vec![finding.timeline.clone(); times].concat();
                finding.timeline.iter_mut().for_each(|line| long(&mut line.text));
                // So much, and no more, is held for one failing case.
                finding.timeline.truncate(2 * MAX_LINES);
            }
            _ => {}
        }
        let frame = event.encode();
        prop_assert!(frame.len() <= MAX_FRAME);
        match Event::decode(&frame) {
            Ok(Event::Found(finding)) => prop_assert!(finding.timeline.iter().all(|line| line.text.len() <= MAX_LINE)),
            Ok(event) => prop_assert!(size(&event) <= 4 * MAX_TEXT),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn answers_of_random_bytes(bytes in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..120)) {
        let _ = wire::decode::<Answer>(&bytes);
        let _ = wire::decode::<Vec<Vec<u64>>>(&bytes);
    }

    #[test]
    fn answers_survive_the_trip(
        text in any::<String>(), lines in vec((any::<u8>(), any::<String>()), 0..3), number in any::<u64>(),
        character in any::<char>(), ok in any::<bool>(),
    ) {
        let result = if ok { Ok((number, 0.5)) } else { Err(character) };
        let answer: Answer = (text.clone(), ok.then_some((7, text, lines)), result, vec![(); 3]);
        let bytes = wire::encode(&answer);
        prop_assert_eq!(wire::decode::<Answer>(&bytes[..bytes.len() - 1]), None);
        prop_assert_eq!(wire::decode(&bytes), Some(answer));
    }
}
