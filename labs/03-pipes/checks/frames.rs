use super::*;

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The bytes on the wire are the big-endian length and the payload, also when writes are cut.
pub fn a_frame_is_its_length_and_its_payload(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("`write_frame`", |(payload, how): (Vec<u8>, PlanOf)| -> (Told<()>, Vec<u8>) {
            let (reader, writer) = io::pipe().expect("a pipe");
            let (answer, _) = faults::with(plan(how), || write_frame(&writer, &payload, payload.len()));
            drop(writer);
            (told(answer), rest_of(reader))
        })?;
    for length in [0, 1, 3, 5, 255, 256, 300, 5000] {
        let payload = letters(check.rng(), length);
        let seed = check.rng().below(1 << 40) as usize;
        for how in [(0, vec![]), (0, vec![1, 1, 1, 1, 1, 1]), (2, vec![seed])] {
            let (answer, wire) = student.ask((payload.clone(), how.clone()))?;
            let case = format!("a payload of {length} bytes, limit {length}, {}", plan_in_words(&how));
            ensure!(answer.is_ok(), expected: format!("success ({case})"), observed: show_done(&answer), look: "`write_frame`: all of its writes go on after a short one and after EINTR");
            ensure!(
                wire == framed(&payload),
                expected: format!("{} ({case})", bytes_in_words(&framed(&payload))),
                observed: bytes_in_words(&wire),
                look: "`write_frame`: four bytes of length, most significant first, then the payload"
            );
        }
    }
    Ok(())
}

/// (bytes in the pipe, limit, what happens to the calls)
type Wire = (Vec<u8>, usize, PlanOf);

/// Reads frames until `None`, an error, or 100 frames; returns them, the error and what is left in the pipe.
fn frames((wire, limit, how): Wire) -> (Vec<Vec<u8>>, Told<()>, Vec<u8>) {
    let reader = holding(&wire);
    let mut frames = Vec::new();
    let (end, _) = faults::with(plan(how), || {
        while frames.len() < 100 {
            match read_frame(&reader, limit) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("100 frames and no end"))
    });
    (frames, told(end), rest_of(reader))
}

/// How a stream of frames ended.
fn show_end(end: &Told<()>) -> String {
    match end {
        Ok(()) => "None".to_owned(),
        Err(error) => format!("the error {error}"),
    }
}

/// However the bytes of three frames arrive, three frames come out.
pub fn boundaries_survive_any_split(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let mut hows: Vec<PlanOf> = splits(9).into_iter().map(|pieces| (0, pieces)).collect();
    hows.push((0, vec![1; 64]));
    hows.extend([(1, vec![1]), (1, vec![2])]);
    hows.extend((0..20).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    for how in hows {
        let lengths = [check.rng().below(4) as usize, 0, 2 + check.rng().below(30) as usize];
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|&length| letters(check.rng(), length)).collect();
        let wire = payloads.iter().flat_map(|payload| framed(payload)).collect();
        let (got, end, _) = student.ask((wire, 40, how.clone()))?;
        let case = format!("frames of {lengths:?} bytes, {}", plan_in_words(&how));
        ensure!(
            end.is_ok() && got == payloads,
            expected: format!("these frames and then None ({case})"),
            observed: format!("frames of {:?} bytes, then {}", got.iter().map(Vec::len).collect::<Vec<_>>(), show_end(&end)),
            look: "`read_frame`: both the length and the payload may arrive in pieces, and each read may be interrupted"
        );
    }
    check.note("256 ways to cut the first nine bytes of three frames, and random ones");
    // The next frame belongs to the next call, or to somebody else.
    let first = letters(check.rng(), 5);
    let wire = [framed(&first), b"not mine".to_vec()].concat();
    let expected = first.clone();
    let (frame, rest) = check.ask("`read_frame` once", move || {
        let reader = holding(&wire);
        (told(read_frame(&reader, 100)), rest_of(reader))
    })?;
    ensure!(frame == Ok(Some(expected)), expected: "the first frame", observed: match &frame {
        Ok(Some(bytes)) => bytes_in_words(bytes),
        Ok(None) => "None".to_owned(),
        Err(error) => format!("the error {error}"),
    }, look: "`read_frame`");
    ensure!(rest == b"not mine", expected: "8 bytes behind the frame still in the pipe", observed: bytes_in_words(&rest), look: "how many bytes `read_frame` takes out of the stream");
    Ok(())
}

/// A stream that ends inside a frame is an error, at every place where it can end.
pub fn truncated_frames_are_refused(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let first = letters(check.rng(), 2);
    let second = letters(check.rng(), 5);
    let wire = [framed(&first), framed(&second)].concat();
    for cut in 0..=wire.len() {
        for how in [(0, vec![]), (0, vec![1; 20])] {
            let (got, end, _) = student.ask((wire[..cut].to_vec(), 100, how.clone()))?;
            let whole = match cut {
                0..6 => 0,
                6..15 => 1,
                _ => 2,
            };
            let boundary = matches!(cut, 0 | 6 | 15);
            ensure!(
                got.len() == whole && if boundary { end.is_ok() } else { is_error(&end, "UnexpectedEof") },
                expected: format!(
                    "{whole} frames, then {} (frames of 6 and 9 bytes with their lengths, the stream ends after {cut})",
                    if boundary { "None" } else { "UnexpectedEof" }
                ),
                observed: format!("{} frames, then {}", got.len(), show_end(&end)),
                look: "`read_frame`: the end inside the length, between length and payload, inside the payload"
            );
        }
    }
    Ok(())
}

/// The limit is kept in both directions, and nothing is written or read beyond the length.
pub fn oversized_frames_are_refused(check: &mut Check) -> Outcome {
    let limit = 10 + check.rng().below(1000) as usize;
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let full = letters(check.rng(), limit);
    let (got, end, _) = student.ask((framed(&full), limit, (0, vec![])))?;
    ensure!(got == [full] && end.is_ok(), expected: format!("a frame of exactly the limit, {limit} bytes, is accepted"), observed: format!("{} frames, then {}", got.len(), show_end(&end)), look: "how `read_frame` compares length and limit");
    for length in [limit as u32 + 1, 1 << 16, 1 << 31, u32::MAX] {
        let body = letters(check.rng(), 20);
        let wire = [length.to_be_bytes().to_vec(), body.clone()].concat();
        let (got, end, rest) = student.ask((wire, limit, (0, vec![])))?;
        ensure!(
            got.is_empty() && is_error(&end, "InvalidData"),
            expected: format!("the error InvalidData for a length of {length} with a limit of {limit}"),
            observed: format!("{} frames, then {}", got.len(), show_end(&end)),
            look: "what `read_frame` does with the length before it uses it"
        );
        ensure!(rest == body, expected: "only the four bytes of the length read", observed: format!("{} of the 20 bytes behind them left", rest.len()), look: "`read_frame`: refuse before reading on");
    }
    let (answer, wire) = check.ask("`write_frame` of a payload above the limit", move || {
        let (reader, writer) = io::pipe().expect("a pipe");
        let answer = told(write_frame(&writer, &vec![b'x'; limit + 1], limit));
        drop(writer);
        (answer, rest_of(reader))
    })?;
    ensure!(is_error(&answer, "InvalidInput"), expected: format!("the error InvalidInput for {} bytes with a limit of {limit}", limit + 1), observed: show_done(&answer), look: "`write_frame`: the limit");
    ensure!(wire.is_empty(), expected: "nothing written when a payload is refused", observed: bytes_in_words(&wire), look: "the order of checking and writing in `write_frame`");
    Ok(())
}
