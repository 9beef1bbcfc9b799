//! How a check asks an entry, and what it looks at besides the answer.

/// The kinds of check that there are in the corpus.
pub enum Asked {
    /// Once; the answer is 42.
    Once,
    /// Three times over one channel; the answers are 42.
    InTurn,
    /// Once; the answer is the contents of the file `out.txt`.
    ForAFile,
    /// Once; the answer is 42, and the directory is as empty as before.
    ToTidyUp,
}

impl Asked {
    /// As the header of an entry says it.
    pub fn parse(text: Option<&str>) -> Asked {
        match text {
            None => Asked::Once,
            Some("in turn") => Asked::InTurn,
            Some("for a file") => Asked::ForAFile,
            Some("to tidy up") => Asked::ToTidyUp,
            Some(other) => panic!("no such check: {other}"),
        }
    }

    /// The check's source: a function `name` that asks the entry `module`.
    pub fn check(&self, name: &str, module: &str) -> String {
        let right = "ensure!(answer == 42, expected: \"42\", observed: \"{answer}\", look: \"`run`\");";
        let ask = format!("let answer = check.ask(\"`run`\", || {module}::run())?;");
        let body = match self {
            Asked::Once => format!("{ask}{right}"),
            Asked::InTurn => format!(
                "let mut student = check.respondent(\"`run`\", |_: u64| {module}::run())?;
                for question in 0..3 {{ let answer = student.ask(question)?; {right} }}"
            ),
            Asked::ForAFile => format!(
                "{ask} let text = harness::observe::contents(std::path::Path::new(\"out.txt\"));
                let found = text.as_ref().map(|text| String::from_utf8_lossy(text).into_owned());
                let found = found.unwrap_or_else(|error| error.to_string());
                ensure!(found == answer.to_string(), expected: \"{{answer}}\", observed: \"{{found}}\", look: \"`run`\");"
            ),
            Asked::ToTidyUp => format!(
                "{ask}{right} let left = std::fs::read_dir(\".\").into_iter().flatten().flatten();
                let left: Vec<String> = left.map(|entry| entry.path().display().to_string()).collect();
                if !left.is_empty() {{ return Err(harness::Stop::Leaked(left.join(\", \"))); }}"
            ),
        };
        format!("fn {name}(check: &mut Check) -> Outcome {{ {body} Ok(()) }}\n")
    }
}
