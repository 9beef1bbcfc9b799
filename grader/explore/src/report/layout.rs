//! Rows into lines of text: a column for each thread where there is room, else one below the other.

use std::collections::BTreeMap;

use super::source::Place;
use super::story::Story;
use super::timeline::{Row, Shown};

/// What a line of a report is, for whoever colours it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The threads' names.
    Header,
    /// The rule below them.
    Rule,
    /// A step.
    Step,
    /// A step that is part of the failure.
    Wrong,
    /// Says more about the step above.
    Remark,
    /// Steps that were left out.
    Folded,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// The text, no longer than was asked for.
    pub text: String,
}

/// Between two columns.
const BETWEEN: &str = " │ ";

/// A source line that is cut to fewer characters says nothing.
const NARROWEST: usize = 15;

/// Draws the timeline.
pub fn lines(story: &Story, rows: &[Row], width: usize) -> Vec<Line> {
    let mut threads: Vec<usize> = rows.iter().filter(|row| !folded(row)).map(|row| row.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    if threads.is_empty() {
        return Vec::new();
    }
    let file = main_file(rows);
    let digits = rows.iter().map(|row| length(&row.step.to_string())).max().unwrap_or(0);
    let gutter = digits.max(4) + 2;
    let room = width.saturating_sub(gutter + length(BETWEEN) * (threads.len() - 1));
    let columns = columns(story, rows, &threads, &file, room);
    let fits = columns.iter().all(|column| column.width >= column.place + 2 + NARROWEST + 2 + column.effect);
    let mut lines = if fits {
        Table { story, threads, columns, file, gutter }.draw(rows)
    } else {
        List::new(story, rows, threads, file, gutter, width).draw(rows)
    };
    for line in &mut lines {
        line.text.truncate(line.text.trim_end().len());
    }
    lines
}

/// A column's width, and what of it the lines' numbers and the longest effect take.
#[derive(Debug, Clone, Copy)]
struct Column {
    width: usize,
    place: usize,
    effect: usize,
}

fn folded(row: &Row) -> bool {
    matches!(row.what, Shown::Folded(_))
}

/// The file that most rows are in: its name goes into the header.
fn main_file(rows: &[Row]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        if let Shown::Step { place: Some(place), .. } = &row.what {
            *counts.entry(place.file_name()).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|&(name, count)| (count, std::cmp::Reverse(name)));
    most.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

fn number(place: &Place, file: &str) -> String {
    if place.file_name() == file { place.line.to_string() } else { place.short() }
}

fn parts(row: &Row) -> Option<(Option<&Place>, String)> {
    let Shown::Step { place, effect, wrong, times, .. } = &row.what else { return None };
    let mark = if *wrong { "✗ " } else { "" };
    let times = if *times > 1 { format!("  ×{times}") } else { String::new() };
    Some((place.as_ref(), format!("{mark}{effect}{times}")))
}

/// The widths that the rows of some threads want: of the number, of the line, of its part, of the effect.
fn wishes<'a>(rows: impl Iterator<Item = &'a Row>, file: &str) -> [usize; 4] {
    let mut wishes = [0; 4];
    for (place, effect) in rows.filter_map(parts) {
        if let Some(place) = place {
            wishes[0] = wishes[0].max(length(&number(place, file)));
            wishes[1] = wishes[1].max(length(&place.text));
            wishes[2] = wishes[2].max(length(brief(place)));
            wishes[3] = wishes[3].max(length(&effect));
        }
    }
    wishes
}

/// The shorter text: what does it, or the whole line.
fn brief(place: &Place) -> &str {
    if place.part.is_empty() { &place.text } else { &place.part }
}

fn columns(story: &Story, rows: &[Row], threads: &[usize], file: &str, room: usize) -> Vec<Column> {
    let wishes: Vec<[usize; 4]> =
        threads.iter().map(|&thread| wishes(rows.iter().filter(|row| row.thread == thread), file)).collect();
    let wide: Vec<usize> =
        wishes.iter().map(|[place, text, _, effect]| place + 2 + text + 2 + effect).collect();
    let short: Vec<usize> =
        wishes.iter().map(|[place, _, part, effect]| place + 2 + part + 2 + effect).collect();
    let least: Vec<usize> = threads.iter().map(|&thread| length(story.name(thread)).max(24)).collect();
    let wanted = if wide.iter().sum::<usize>() <= room { &wide } else { &short };
    let widths = share(wanted, &least, room);
    wishes
        .iter()
        .zip(widths)
        .map(|(&[place, text, _, effect], width)| Column {
            width,
            place,
            effect: if text > NARROWEST { effect } else { 0 },
        })
        .collect()
}

/// Each gets what it wants if that is no more than its share of the room; the rest is for the others.
fn share(wanted: &[usize], least: &[usize], room: usize) -> Vec<usize> {
    let mut widths = vec![0; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&index| wanted[index]);
    let mut left = room;
    for (at, &index) in order.iter().enumerate() {
        let fair = left / (order.len() - at);
        widths[index] = wanted[index].max(least[index]).min(fair);
        left -= widths[index];
    }
    widths
}

/// The row's text in `width` characters, the effect at the right edge, and what of it did not fit.
fn cell(row: &Row, place_width: usize, width: usize, file: &str) -> (String, String) {
    let Some((place, effect)) = parts(row) else { return (String::new(), String::new()) };
    let indent = " ".repeat(if place_width > 0 { place_width + 2 } else { 0 });
    let Some(place) = place else { return (format!("{indent}{effect}"), String::new()) };
    let number = format!("{:>place_width$}", number(place, file));
    let room = width.saturating_sub(place_width + 4 + length(&effect));
    if room < 10 {
        let room = width.saturating_sub(place_width + 2);
        return (format!("{number}  {}", cut(brief(place), room)), effect);
    }
    let source = if length(&place.text) <= room { place.text.clone() } else { cut(brief(place), room) };
    (format!("{number}  {}  {effect}", pad(&source, room)), String::new())
}

/// What is said below a row, indented to its source line.
fn remarks(row: &Row, rest: String, indent: usize, width: usize) -> Vec<String> {
    let Shown::Step { remark, .. } = &row.what else { return Vec::new() };
    let mut lines = Vec::new();
    for more in [rest.as_str(), remark].into_iter().filter(|more| !more.is_empty()) {
        for (at, part) in wrap(more, width.saturating_sub(indent + 2).max(10)).iter().enumerate() {
            let corner = if at == 0 { "└ " } else { "  " };
            lines.push(format!("{}{corner}{part}", " ".repeat(indent)));
        }
    }
    lines
}

fn left_out(count: usize) -> String {
    if count == 1 {
        "… 1 step".to_owned()
    } else {
        format!("… {} steps", crate::coverage::grouped(count as u64))
    }
}

fn kind(row: &Row) -> Kind {
    match &row.what {
        Shown::Folded(_) => Kind::Folded,
        Shown::Step { wrong: true, .. } => Kind::Wrong,
        Shown::Step { wrong: false, .. } => Kind::Step,
    }
}

fn step(row: &Row) -> String {
    if row.step == 0 || folded(row) { String::new() } else { row.step.to_string() }
}

/// A column for each thread.
struct Table<'a> {
    story: &'a Story<'a>,
    threads: Vec<usize>,
    columns: Vec<Column>,
    file: String,
    gutter: usize,
}

impl Table<'_> {
    fn draw(&self, rows: &[Row]) -> Vec<Line> {
        let mut lines = self.header();
        for (at, row) in rows.iter().enumerate() {
            let position = self.threads.iter().position(|&thread| thread == row.thread).unwrap_or(0);
            let column = self.columns[position];
            if let Shown::Folded(count) = row.what {
                let text = format!("{}{}", " ".repeat(column.place + 2), left_out(count));
                lines.push(Line { kind: Kind::Folded, text: self.lay("", &[(position, &text)]) });
                continue;
            }
            let (cell, rest) = cell(row, column.place, column.width, &self.file);
            // What becomes of several threads in the end stands side by side.
            let after = at.checked_sub(1).map(|before| &rows[before]);
            if ending(row)
                && let Some(line) = lines.last_mut()
                && after.is_some_and(|after| ending(after) && after.thread < row.thread)
            {
                let start = self.gutter
                    + self.columns[..position].iter().map(|column| column.width + 3).sum::<usize>();
                line.text = format!("{}{cell}", line.text.chars().take(start).collect::<String>());
                continue;
            }
            lines.push(Line { kind: kind(row), text: self.lay(&step(row), &[(position, &cell)]) });
            for remark in remarks(row, rest, column.place + 2, column.width) {
                lines.push(Line { kind: Kind::Remark, text: self.lay("", &[(position, &remark)]) });
            }
        }
        lines
    }

    fn header(&self) -> Vec<Line> {
        let mut names = " ".repeat(self.gutter);
        let mut rule = " ".repeat(self.gutter);
        for (at, (&thread, column)) in self.threads.iter().zip(&self.columns).enumerate() {
            if at > 0 {
                names.push_str(BETWEEN);
                rule.push_str("─┼─");
            }
            let mut name = cut(self.story.name(thread), column.width);
            if at == 0 && !self.file.is_empty() && length(&name) + 2 + length(&self.file) <= column.width {
                name = format!("{}{}", pad(&name, column.width - length(&self.file)), self.file);
            }
            names.push_str(&pad(&name, column.width));
            rule.push_str(&"─".repeat(column.width));
        }
        vec![Line { kind: Kind::Header, text: names }, Line { kind: Kind::Rule, text: rule }]
    }

    /// The step, then the columns, of which some have a cell.
    fn lay(&self, step: &str, cells: &[(usize, &str)]) -> String {
        let mut text = format!("{step:>width$}  ", width = self.gutter - 2);
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                text.push_str(BETWEEN);
            }
            let cell = cells.iter().find(|(position, _)| *position == at).map_or("", |(_, cell)| cell);
            text.push_str(&pad(cell, column.width));
        }
        text
    }
}

/// A row that says what becomes of a thread.
fn ending(row: &Row) -> bool {
    row.step == 0 && matches!(&row.what, Shown::Step { place: None, wrong: true, .. })
}

/// One row below the other, a narrow lane for each thread on the left.
struct List<'a> {
    story: &'a Story<'a>,
    threads: Vec<usize>,
    file: String,
    gutter: usize,
    width: usize,
    name: usize,
    place: usize,
}

impl<'a> List<'a> {
    fn new(
        story: &'a Story<'a>,
        rows: &[Row],
        threads: Vec<usize>,
        file: String,
        gutter: usize,
        width: usize,
    ) -> List<'a> {
        let [place, text, part, effect] = wishes(rows.iter(), &file);
        let name = threads.iter().map(|&thread| length(story.name(thread))).max().unwrap_or(0);
        let before = gutter + 2 * threads.len() + 1 + name + 2;
        let source = if before + place + 4 + text + effect <= width { text } else { part };
        let width = (place + 4 + source + effect).min(width.saturating_sub(before));
        List { story, threads, file, gutter, width, name, place }
    }

    fn draw(&self, rows: &[Row]) -> Vec<Line> {
        let header = format!("{}{}", self.before("", None, ""), self.file);
        let mut lines = vec![Line { kind: Kind::Header, text: header }];
        for row in rows {
            if let Shown::Folded(count) = row.what {
                let indent = " ".repeat(self.place + 2);
                let text = format!("{}{indent}{}", self.before("", None, ""), left_out(count));
                lines.push(Line { kind: Kind::Folded, text });
                continue;
            }
            let (cell, rest) = cell(row, self.place, self.width, &self.file);
            let before = self.before(&step(row), Some(row.thread), self.story.name(row.thread));
            lines.push(Line { kind: kind(row), text: format!("{before}{cell}") });
            for remark in remarks(row, rest, self.place + 2, self.width) {
                let text = format!("{}{remark}", self.before("", None, ""));
                lines.push(Line { kind: Kind::Remark, text });
            }
        }
        lines
    }

    /// The step, the lanes with a mark in that of `thread`, and its name.
    fn before(&self, step: &str, thread: Option<usize>, name: &str) -> String {
        let lane = |&lane: &usize| if Some(lane) == thread { "● " } else { "│ " };
        let lanes: String = self.threads.iter().map(lane).collect();
        format!("{step:>width$}  {lanes} {}  ", pad(name, self.name), width = self.gutter - 2)
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(length(text))))
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Breaks text into lines of at most `width` characters, between words where it can.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && length(&line) + 1 + length(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
