use super::*;

/// (content of the pipe, size of the buffer, what happens to the calls)
type Reading = (Vec<u8>, usize, PlanOf);
/// (answer: whole or end of stream, the buffer, what is left in the pipe)
type HasRead = (Told<bool>, Vec<u8>, Vec<u8>);

fn reading((content, size, how): Reading) -> HasRead {
    let reader = holding(&content);
    let mut buffer = vec![0; size];
    let (answer, _) = faults::with(plan(how), || read_exact(&reader, &mut buffer));
    (told(answer).map(|filled| filled == Filled::Whole), buffer, rest_of(reader))
}

fn judge_reading(check: &mut Check, questions: Vec<Reading>) -> Outcome {
    let mut student = check.respondent("`read_exact`", reading)?;
    for question in questions {
        let (content, size, how) = question.clone();
        let (answer, buffer, rest) = student.ask(question)?;
        let case = format!("{size} bytes wanted, {} in the pipe, {}", content.len(), plan_in_words(&how));
        let outcome = match &answer {
            Ok(true) => "Whole".to_owned(),
            Ok(false) => "EndOfStream".to_owned(),
            Err(error) => format!("the error {error}"),
        };
        ensure!(answer == Ok(true), expected: format!("Whole ({case})"), observed: outcome, look: "the loop in `read_exact`: what it repeats, and what it returns");
        // The content has no zero bytes, the buffer began with nothing else.
        let filled = buffer.iter().take_while(|&&byte| byte != 0).count();
        ensure!(
            filled == size || buffer[..filled] != content[..filled],
            expected: format!("Whole only when all {size} bytes are there ({case})"),
            observed: format!("Whole, and {filled} of {size} bytes in the buffer"),
            look: "the loop in `read_exact`: one `read` may return fewer bytes than it was asked for"
        );
        ensure!(
            buffer == content[..size],
            expected: format!("the first {size} bytes of the stream, {} ({case})", bytes_in_words(&content[..size])),
            observed: bytes_in_words(&buffer),
            look: "where `read_exact` puts the next piece"
        );
        ensure!(
            rest == content[size..],
            expected: format!("{} bytes left in the pipe for the next reader ({case})", content.len() - size),
            observed: format!("{} bytes left", rest.len()),
            look: "how many bytes `read_exact` asks for"
        );
    }
    Ok(())
}

/// Every way to cut the first bytes of the stream gives the same buffer, and nothing beyond it is read.
pub fn the_buffer_is_filled_however_the_bytes_arrive(check: &mut Check) -> Outcome {
    let mut questions = vec![(b"next".to_vec(), 0, (0, vec![]))];
    for pieces in splits(7) {
        questions.push((letters(check.rng(), 9), 7, (0, pieces)));
    }
    let size = 2000 + check.rng().below(2000) as usize;
    questions.push((letters(check.rng(), size + 10), size, (0, vec![1, 2, 3, 500, 1])));
    check.note("all 64 ways to cut 7 bytes, and a longer stream");
    judge_reading(check, questions)
}

/// `EINTR` loses no byte, in reading and in writing.
pub fn interrupted_calls_are_repeated(check: &mut Check) -> Outcome {
    let mut hows: Vec<PlanOf> = vec![(1, vec![1]), (1, vec![2])];
    hows.extend((0..20).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    let mut questions = Vec::new();
    for how in &hows {
        questions.push((letters(check.rng(), 70), 60, how.clone()));
    }
    judge_reading(check, questions)?;
    judge_writing(check, hows)
}

fn judge_writing(check: &mut Check, hows: Vec<PlanOf>) -> Outcome {
    let mut student =
        check.respondent("`write_all`", |(bytes, how): (Vec<u8>, PlanOf)| -> (Told<()>, Vec<u8>) {
            let (reader, writer) = io::pipe().expect("a pipe");
            let (answer, _) = faults::with(plan(how), || write_all(&writer, &bytes));
            drop(writer);
            (told(answer), rest_of(reader))
        })?;
    for how in hows {
        let length = if how.0 == 0 { how.1.iter().sum::<usize>() + 2 } else { 60 };
        let bytes = letters(check.rng(), length);
        let (answer, arrived) = student.ask((bytes.clone(), how.clone()))?;
        let case = format!("{length} bytes written, {}", plan_in_words(&how));
        ensure!(
            answer.is_ok(),
            expected: format!("success ({case})"),
            observed: format!("the error {}", answer.clone().err().unwrap_or_default()),
            look: "the loop in `write_all`: what it repeats, and what it returns"
        );
        ensure!(
            arrived == bytes,
            expected: format!("{} ({case})", bytes_in_words(&bytes)),
            observed: format!("{} in the pipe", bytes_in_words(&arrived)),
            look: "what `write_all` does when `write` takes fewer bytes than offered"
        );
    }
    Ok(())
}

/// No byte, some bytes, all bytes before the end are three different answers.
pub fn an_end_in_the_middle_is_an_error(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_exact`", reading)?;
    for there in 0..6 {
        for how in [(0, vec![]), (0, vec![1, 1, 1, 1, 1, 1]), (1, vec![1])] {
            let (answer, ..) = student.ask((letters(check.rng(), there), 6, how.clone()))?;
            let observed = match &answer {
                Ok(true) => "Whole".to_owned(),
                Ok(false) => "EndOfStream".to_owned(),
                Err(error) => format!("the error {error}"),
            };
            let case = format!("6 bytes wanted, the stream ends after {there}, {}", plan_in_words(&how));
            if there == 0 {
                ensure!(answer == Ok(false), expected: format!("EndOfStream ({case})"), observed: observed, look: "`read_exact`: `read` answering 0 at once");
            } else {
                ensure!(is_error(&answer, "UnexpectedEof"), expected: format!("the error UnexpectedEof ({case})"), observed: observed, look: "`read_exact`: `read` answering 0 after some bytes");
            }
        }
    }
    Ok(())
}

/// Every way to cut the writes puts the same bytes into the pipe.
pub fn every_byte_is_written(check: &mut Check) -> Outcome {
    let mut hows: Vec<PlanOf> = splits(7).into_iter().map(|pieces| (0, pieces)).collect();
    hows.push((0, vec![]));
    hows.push((0, vec![1, 1000, 1, 500]));
    check.note("all 64 ways to cut 7 bytes, and longer ones");
    judge_writing(check, hows)
}

/// Without a reader the answer is `BrokenPipe`, and the process lives.
pub fn a_closed_reader_is_an_error(check: &mut Check) -> Outcome {
    let length = 1 + check.rng().below(100_000) as usize;
    let answer = check.ask("`write_all` to a pipe without a reader", move || {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        told(write_all(&writer, &vec![b'x'; length]))
    })?;
    ensure!(
        is_error(&answer, "BrokenPipe"),
        expected: format!("the error BrokenPipe (EPIPE) for {length} bytes to a pipe that nobody reads"),
        observed: show_done(&answer),
        look: "which errors `write_all` repeats or drops"
    );
    Ok(())
}
