//! `list`: the labs of the course, or the checks of some.

use std::fmt::Write as _;

use crate::course::Course;
use crate::error::Result;
use crate::lab::Lab;
use crate::progress::plural;
use crate::variant::Variant;

/// All labs, a line each; or the named ones in full.
///
/// # Errors
/// For a name that is no lab's.
pub fn render(course: &Course, names: &[String]) -> Result<String> {
    let mut text = String::new();
    for lab in &course.labs {
        if names.is_empty() {
            let checks = plural(lab.checks().count(), "check");
            let _ =
                writeln!(text, "{:20} {} ({checks}, {} points)", lab.name, lab.rubric.title, lab.points());
        }
    }
    for name in names {
        let lab = course.lab(name)?;
        in_full(&mut text, lab, &course.variants(lab));
    }
    Ok(text)
}

fn in_full(text: &mut String, lab: &Lab, variants: &[Variant]) {
    let _ = writeln!(text, "{} {}\n{}", lab.directory, lab.rubric.title, lab.rubric.summary);
    for part in &lab.rubric.parts {
        let _ = writeln!(text, "\n  {} ({})", part.title, part.name);
        for check in &part.checks {
            let _ = writeln!(text, "    {:>3}  {:40} {}", check.points, check.name, check.says);
        }
    }
    if !variants.is_empty() {
        text.push_str("\n  Other right answers (--subject variant:NAME)\n");
    }
    for variant in variants {
        let _ = writeln!(text, "         {:40} {}", variant.name, variant.says);
    }
    text.push('\n');
}
