//! Input that makes no sense, and machines that lack something: a clear sentence and a documented exit code.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::course::*;

/// A course of its own, to be broken.
struct Broken {
    folder: tempfile::TempDir,
}

impl Broken {
    fn new() -> Broken {
        let folder = tempfile::tempdir().unwrap();
        write_course(folder.path(), include_str!("submission.rs"));
        Broken { folder }
    }

    fn lab(&self) -> PathBuf {
        self.folder.path().join("labs/01-yard")
    }

    fn grader(&self) -> Command {
        let mut command = grader_in(self.folder.path());
        command.args(["yard", "ends"]);
        command
    }
}

#[test]
fn a_broken_rubric_is_named_with_line_and_column() {
    let broken = Broken::new();
    let file = broken.lab().join("lab.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("points = 10", "points = 'ten'", 1)).unwrap();
    run(&mut broken.grader())
        .code(3)
        .complains("labs/01-yard/lab.toml:9:10: invalid type: string \"ten\", expected u32");
    fs::write(&file, text.replacen("summary", "sumary", 1)).unwrap();
    run(&mut broken.grader()).code(3).complains("labs/01-yard/lab.toml:2:1: unknown field `sumary`");
    fs::write(&file, "title = ").unwrap();
    run(&mut broken.grader()).code(3).complains("labs/01-yard/lab.toml:1:");
}

#[test]
fn a_broken_list_of_mutants_is_named_with_line_and_column() {
    let broken = Broken::new();
    let solution = broken.folder.path().join("solutions/01-yard");
    fs::create_dir_all(solution.join("src")).unwrap();
    fs::write(solution.join("src/lib.rs"), "").unwrap();
    fs::write(solution.join("mutants.toml"), "[[mutants]]\nname = 1\n").unwrap();
    let mut command = broken.grader();
    run(command.args(["--subject", "mutant:any"]))
        .code(3)
        .complains("solutions/01-yard/mutants.toml:2:8: invalid type: integer `1`, expected a string");
}

#[test]
fn a_missing_cargo_is_an_error() {
    let mut command = grader(&["ends"]);
    run(command.env_remove("CARGO").env("PATH", "/nowhere")).code(70).complains("cannot run cargo");
}

#[test]
fn a_target_directory_that_cannot_be_written_is_an_error() {
    run(grader(&["ends"]).env("CARGO_TARGET_DIR", "/proc/none"))
        .code(70)
        .complains("cannot create `/proc/none");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("grader"), "in the way").unwrap();
    run(grader(&["ends"]).env("CARGO_TARGET_DIR", folder.path())).code(70).complains("cannot create");
}

/// What is graded when the submission's folder is not as it should be: no points, and one sentence why.
#[track_caller]
fn check_unreadable(break_it: impl Fn(&Path), why: &str) {
    let broken = Broken::new();
    break_it(&broken.lab().join("src"));
    run(&mut broken.grader())
        .code(1)
        .says("nothing could be checked: ")
        .says(why)
        .says("0/10")
        .left_nothing();
}

#[test]
fn a_lab_without_sources_says_so() {
    check_unreadable(|src| fs::remove_dir_all(src).unwrap(), "cannot read `labs/01-yard/src");
}

#[test]
fn an_empty_folder_of_sources_says_so() {
    check_unreadable(
        |src| fs::remove_file(src.join("lib.rs")).unwrap(),
        "there is no `labs/01-yard/src/lib.rs`",
    );
}

#[test]
fn a_symbolic_link_is_not_followed() {
    check_unreadable(
        |src| symlink("/etc/passwd", src.join("secret.rs")).unwrap(),
        "`labs/01-yard/src/secret.rs` is a symbolic link",
    );
}

#[test]
fn a_source_that_is_not_utf_8_says_so() {
    check_unreadable(
        |src| fs::write(src.join("lib.rs"), [0xff, 0xfe]).unwrap(),
        "`labs/01-yard/src/lib.rs` is not UTF-8",
    );
}

#[test]
fn a_source_that_is_too_large_says_so() {
    check_unreadable(
        |src| fs::write(src.join("lib.rs"), vec![b' '; 2 << 20]).unwrap(),
        "`labs/01-yard/src/lib.rs` is larger than 1 MiB",
    );
}

/// A grader in mounts of its own, prepared by a piece of shell; none where the kernel does not allow that.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn mounted(script: &str, checks: &[&str]) -> Option<Command> {
    let is_allowed =
        Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !is_allowed {
        eprintln!("left out: this machine allows no mount namespace (`unshare -rm`)");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-ec", &format!("{script}\nexec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_grader")).arg("yard").args(checks);
    command.current_dir(course()).env("CARGO_TARGET_DIR", target());
    Some(command)
}

#[test]
fn a_full_disk_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let Some(mut command) = mounted(&format!("mount -t tmpfs -o size=256k none {place}"), &["ends"]) else {
        return;
    };
    run(command.env("CARGO_TARGET_DIR", folder.path())).code(70).complains("No space left on device");
}

#[test]
fn a_disk_that_fills_up_in_the_build_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    // Room for the generated workspace, not for what the compiler makes of its dependencies.
    let Some(mut command) = mounted(&format!("mount -t tmpfs -o size=12m none {place}"), &["ends"]) else {
        return;
    };
    run(command.env("CARGO_TARGET_DIR", folder.path())).code(70).complains("the disk is full");
}

#[test]
fn a_machine_without_dev_shm_grades_all_the_same() {
    run(&mut grader(&["ends"])).code(0);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let script = format!(
        "mount -t tmpfs none {place}\nfor name in null zero full random urandom tty; do\n\
         touch {place}/$name; mount --bind /dev/$name {place}/$name; done\nmount --rbind {place} /dev"
    );
    let Some(mut command) = mounted(&script, &["ends"]) else { return };
    run(&mut command).code(0).says("10/10");
}

#[test]
fn a_machine_without_proc_decides_nothing() {
    run(&mut grader(&["ends"])).code(0);
    let Some(mut command) = mounted("mount -t tmpfs none /proc", &["ends"]) else { return };
    // The real cargo: the one that rustup puts on the path does need `/proc`.
    run(command.env("CARGO", env!("CARGO"))).code(1).says("not decided").says("there is no /proc");
}

#[test]
fn a_machine_without_some_entries_of_proc_grades_all_the_same() {
    let script = "mount -t tmpfs none /proc/sys; mount -t tmpfs none /proc/sysvipc";
    let Some(mut command) = mounted(script, &["ends"]) else { return };
    run(&mut command).code(0).says("10/10").left_nothing();
}
