//! `hint`: one hint for one part of a lab, never more than asked for.

use crate::course::nearest;
use crate::error::{Error, Result};
use crate::lab::Lab;

/// The hint of a level, from 1, for the part that `word` names, or whose check it names.
///
/// # Errors
/// For a word that is neither, or a level without a hint.
pub fn render(lab: &Lab, word: &str, level: u8) -> Result<String> {
    let parts = &lab.rubric.parts;
    let named = parts.iter().find(|part| part.name == word);
    let of_check = || parts.iter().find(|part| part.checks.iter().any(|check| check.name == word));
    let part = named.or_else(of_check).ok_or_else(|| {
        let checks = lab.checks().map(|(_, check)| check.name.as_str());
        let near = nearest(word, parts.iter().map(|part| part.name.as_str()).chain(checks));
        Error::Usage(format!("`{}` has no part or check named `{word}`; {near}", lab.name))
    })?;
    let hints = &part.hints;
    let hint = hints.get(usize::from(level).saturating_sub(1)).ok_or_else(|| {
        Error::Usage(format!("part `{}` has {} hints, no hint {level}", part.name, hints.len()))
    })?;
    let more = if usize::from(level) < hints.len() {
        format!("\n(one more step: add --level {})\n", level + 1)
    } else {
        String::new()
    };
    Ok(format!("{}\n\n{hint}\n{more}", part.title))
}
