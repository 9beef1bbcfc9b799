//! What a check process tells the grader: one event per datagram on the one inherited descriptor.
//!
//! The format is a tag byte and length-prefixed fields. It is bounded: a frame is at most
//! [`MAX_FRAME`] bytes, text beyond that is cut by the sender, and anything malformed is an error
//! for the reader, never a panic. An event is evidence; the grader alone decides the verdict.

use std::fmt;

/// The most bytes a frame may have.
pub const MAX_FRAME: usize = 64 * 1024;

/// The most bytes one text field may have; longer text is cut at a character boundary.
pub const MAX_TEXT: usize = 12 * 1024;

/// A place in the source, as the compiler recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path as compiled.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

/// The most bytes a schedule may have.
const MAX_SCHEDULE: usize = 8 * 1024;

/// The most lines of a timeline that travel.
pub const MAX_LINES: usize = 100;

/// The most bytes one line of a timeline may have.
pub const MAX_LINE: usize = 360;

/// What a line of a timeline is, for whoever colours it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// The threads' names.
    Header,
    /// A step that is not, or not by itself, part of the failure; and what is drawn between steps.
    Step,
    /// A step that is part of the failure.
    Wrong,
    /// Says more about the step above, or that steps were left out.
    Remark,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: LineKind,
    /// The text.
    pub text: String,
}

/// A failing execution, as an exploration found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// One line: `lost wake-up: thread 2 never goes on`.
    pub headline: String,
    /// Why, in a sentence or two.
    pub cause: String,
    /// The execution, a line for each step that matters.
    pub timeline: Vec<Line>,
    /// What replays it: the number of the exploration, a colon, the schedule.
    pub schedule: String,
    /// How often a thread was interrupted that could have run on.
    pub preemptions: u32,
    /// What had been explored: "execution 11".
    pub coverage: String,
    /// The source line at fault, when it is known.
    pub place: Option<Place>,
}

/// One record from a check process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The check began, with this seed.
    Started {
        /// The seed that repeats the run.
        seed: u64,
    },
    /// What was covered, for the report: "1,000 random operands".
    Note {
        /// One line.
        text: String,
    },
    /// The property does not hold.
    Failed {
        /// What the contract asks for.
        expected: String,
        /// What was seen instead.
        observed: String,
        /// Where the student should look.
        look: String,
        /// The source line at fault, when it is known.
        place: Option<Place>,
    },
    /// A process running the submission died: panic, signal, or an early exit.
    Crashed {
        /// What happened, in one or more lines.
        how: String,
        /// Where a panic was raised.
        place: Option<Place>,
    },
    /// The submission did not finish within the deadline.
    TimedOut {
        /// What every process and thread was waiting for.
        why: String,
    },
    /// A `todo!()` was reached.
    Unimplemented {
        /// Its text.
        todo: String,
        /// Where it stands.
        place: Option<Place>,
    },
    /// Something was left behind: a process, a zombie, a descriptor, an IPC object.
    Leaked {
        /// What, by number or name.
        what: String,
    },
    /// The machine could not show the property.
    Inconclusive {
        /// What was missing.
        why: String,
    },
    /// An instruction of the submission was seen to do something; the grader decodes and judges it.
    Instruction {
        /// The rule to apply: `changes-lock-word`.
        rule: String,
        /// Its address, relative to the load address of the check binary.
        address: u64,
        /// The bytes at that address, 15 at most.
        bytes: Vec<u8>,
    },
    /// An exploration found an execution that violates the property.
    Found(Finding),
    /// One step of the execution that is being replayed, also one that the timeline leaves out.
    Stepped(Line),
    /// The execution that was to be replayed does not fail.
    Replayed {
        /// Whether there still is such an execution; if not, the program has changed.
        fits: bool,
    },
    /// The final record: the check ran to its end. Proves liveness only.
    Finished,
}

/// Why a frame could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed event frame: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Event {
    /// The frame for this event, [`MAX_FRAME`] bytes at most.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = Writer(Vec::new());
        match self {
            Event::Started { seed } => {
                frame.tag(1);
                frame.number(*seed);
            }
            Event::Note { text } => {
                frame.tag(2);
                frame.text(text);
            }
            Event::Failed { expected, observed, look, place } => {
                frame.tag(3);
                frame.text(expected);
                frame.text(observed);
                frame.text(look);
                frame.place(place.as_ref());
            }
            Event::Crashed { how, place } => {
                frame.tag(4);
                frame.text(how);
                frame.place(place.as_ref());
            }
            Event::TimedOut { why } => {
                frame.tag(5);
                frame.text(why);
            }
            Event::Unimplemented { todo, place } => {
                frame.tag(6);
                frame.text(todo);
                frame.place(place.as_ref());
            }
            Event::Leaked { what } => {
                frame.tag(7);
                frame.text(what);
            }
            Event::Inconclusive { why } => {
                frame.tag(8);
                frame.text(why);
            }
            Event::Instruction { rule, address, bytes } => {
                frame.tag(9);
                frame.text(rule);
                frame.number(*address);
                frame.bytes(&bytes[..bytes.len().min(15)]);
            }
            Event::Finished => frame.tag(10),
            Event::Found(finding) => {
                frame.tag(11);
                frame.finding(finding);
            }
            Event::Stepped(line) => {
                frame.tag(13);
                frame.line(line);
            }
            Event::Replayed { fits } => {
                frame.tag(12);
                frame.tag((*fits).into());
            }
        }
        frame.0
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] for an unknown tag, a short or overlong frame, or text that is not UTF-8.
    pub fn decode(frame: &[u8]) -> Result<Event, Malformed> {
        if frame.len() > MAX_FRAME {
            return Err(Malformed("too long"));
        }
        let mut frame = Reader(frame);
        let event = match frame.tag()? {
            1 => Event::Started { seed: frame.number()? },
            2 => Event::Note { text: frame.text()? },
            3 => Event::Failed {
                expected: frame.text()?,
                observed: frame.text()?,
                look: frame.text()?,
                place: frame.place()?,
            },
            4 => Event::Crashed { how: frame.text()?, place: frame.place()? },
            5 => Event::TimedOut { why: frame.text()? },
            6 => Event::Unimplemented { todo: frame.text()?, place: frame.place()? },
            7 => Event::Leaked { what: frame.text()? },
            8 => Event::Inconclusive { why: frame.text()? },
            9 => Event::Instruction {
                rule: frame.text()?,
                address: frame.number()?,
                bytes: frame.bytes(15)?.to_vec(),
            },
            10 => Event::Finished,
            11 => Event::Found(frame.finding()?),
            13 => Event::Stepped(frame.line()?),
            12 => Event::Replayed { fits: frame.tag()? != 0 },
            _ => return Err(Malformed("unknown tag")),
        };
        if frame.0.is_empty() { Ok(event) } else { Err(Malformed("bytes after the last field")) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(&text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]);
    }

    fn finding(&mut self, finding: &Finding) {
        let Finding { headline, cause, timeline, schedule, preemptions, coverage, place } = finding;
        for (text, most) in [(headline, 1024), (cause, 4096), (schedule, MAX_SCHEDULE), (coverage, 1024)] {
            self.bytes(&text.as_bytes()[..text.floor_char_boundary(most)]);
        }
        self.number((*preemptions).into());
        let lines = &timeline[..timeline.len().min(MAX_LINES)];
        self.number(lines.len() as u64);
        lines.iter().for_each(|line| self.line(line));
        self.place(place.as_ref());
    }

    fn line(&mut self, Line { kind, text }: &Line) {
        self.tag(match kind {
            LineKind::Header => 0,
            LineKind::Step => 1,
            LineKind::Wrong => 2,
            LineKind::Remark => 3,
        });
        self.bytes(&text.as_bytes()[..text.floor_char_boundary(MAX_LINE)]);
    }

    fn place(&mut self, place: Option<&Place>) {
        self.tag(place.is_some().into());
        if let Some(place) = place {
            self.text(&place.file);
            self.number(place.line.into());
            self.number(place.column.into());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn tag(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed("too short"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed("field too long"))?;
        if length > limit {
            return Err(Malformed("field too long"));
        }
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes(MAX_TEXT)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Malformed("text is not UTF-8"))
    }

    fn finding(&mut self) -> Result<Finding, Malformed> {
        let (headline, cause, schedule, coverage) = (self.text()?, self.text()?, self.text()?, self.text()?);
        let preemptions = self.small()?;
        let lines = self.number()?;
        if lines > MAX_LINES as u64 {
            return Err(Malformed("too many lines"));
        }
        let timeline = (0..lines).map(|_| self.line()).collect::<Result<_, _>>()?;
        let place = self.place()?;
        Ok(Finding { headline, cause, timeline, schedule, preemptions, coverage, place })
    }

    fn line(&mut self) -> Result<Line, Malformed> {
        let kind = match self.tag()? {
            0 => LineKind::Header,
            1 => LineKind::Step,
            2 => LineKind::Wrong,
            3 => LineKind::Remark,
            _ => return Err(Malformed("no kind of line")),
        };
        Ok(Line { kind, text: self.text()? })
    }

    fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("number too large"))
    }

    fn place(&mut self) -> Result<Option<Place>, Malformed> {
        match self.tag()? {
            0 => Ok(None),
            1 => Ok(Some(Place { file: self.text()?, line: self.small()?, column: self.small()? })),
            _ => Err(Malformed("neither a place nor none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: Event) {
        assert_eq!(Event::decode(&event.encode()), Ok(event));
    }

    fn place() -> Option<Place> {
        Some(Place { file: "src/lib.rs".into(), line: 12, column: 5 })
    }

    #[test]
    fn every_event_survives_the_trip() {
        check(Event::Started { seed: u64::MAX });
        check(Event::Note { text: "1,000 operands — ünïcode".into() });
        check(Event::Failed {
            expected: "a".into(),
            observed: "b".into(),
            look: String::new(),
            place: place(),
        });
        check(Event::Crashed { how: "c".into(), place: None });
        check(Event::TimedOut { why: "d".into() });
        check(Event::Unimplemented { todo: "e".into(), place: place() });
        check(Event::Leaked { what: "f".into() });
        check(Event::Inconclusive { why: "g".into() });
        check(Event::Instruction { rule: "h".into(), address: 7, bytes: vec![0xf0, 0x0f] });
        check(Event::Finished);
        check(Event::Replayed { fits: true });
        check(Event::Replayed { fits: false });
        let line = |kind| Line { kind, text: "│ ✗".into() };
        check(Event::Stepped(line(LineKind::Step)));
        check(Event::Found(Finding::default()));
        check(Event::Found(Finding {
            headline: "i".into(),
            cause: "j\nk".into(),
            timeline: [LineKind::Header, LineKind::Step, LineKind::Wrong, LineKind::Remark].map(line).into(),
            schedule: "1:17t2".into(),
            preemptions: 2,
            coverage: "m".into(),
            place: place(),
        }));
    }

    #[test]
    fn a_finding_fits_a_frame_however_long_it_is() {
        let long = "é".repeat(MAX_FRAME);
        let finding = Finding {
            headline: long.clone(),
            cause: long.clone(),
            timeline: vec![Line { kind: LineKind::Wrong, text: long.clone() }; 2 * MAX_LINES],
            schedule: long.clone(),
            preemptions: u32::MAX,
            coverage: long,
            place: place(),
        };
        let frame = Event::Found(finding).encode();
        assert!(frame.len() <= MAX_FRAME, "{} bytes", frame.len());
        let Ok(Event::Found(finding)) = Event::decode(&frame) else { panic!("not a finding") };
        assert_eq!(finding.timeline.len(), MAX_LINES);
    }

    #[test]
    fn overlong_text_is_cut_at_a_character() {
        let frame = Event::Note { text: "é".repeat(MAX_TEXT) }.encode();
        assert!(frame.len() <= MAX_FRAME);
        let Ok(Event::Note { text }) = Event::decode(&frame) else { panic!("not a note") };
        assert_eq!(text.len(), MAX_TEXT);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let frame =
            Event::Failed { expected: "a".into(), observed: "b".into(), look: "c".into(), place: place() }
                .encode();
        for length in 0..frame.len() {
            assert!(Event::decode(&frame[..length]).is_err(), "{length} bytes were accepted");
        }
    }

    #[test]
    fn junk_is_an_error_not_a_panic() {
        let mut state = 1u64;
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..state % 64)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            state = state.wrapping_add(1);
            let _ = Event::decode(&bytes);
        }
        assert!(Event::decode(&[99]).is_err());
        assert!(Event::decode(&[10, 0]).is_err());
    }
}
