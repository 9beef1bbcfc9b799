//! `doctor`: how well this machine can shut checks in, and what to do for better.

use std::fmt::Write as _;
use std::fs;

use crate::course::Course;
use crate::error::Result;
use crate::exit_code::ExitCode;
use crate::publish::print;
use crate::sandbox::probe::{self, Finding};
use crate::sandbox::tier::Tier;
use crate::scratch::Scratch;

/// Tries every tier and prints what came of it.
///
/// # Errors
/// Failures of ours.
pub fn doctor(course: &Course) -> Result<ExitCode> {
    let scratch = Scratch::open(course, || ())?;
    let findings = probe::tiers(course, &scratch, true)?;
    print(&render(&findings, &Machine::look()))?;
    Ok(ExitCode::FullMarks)
}

/// What explains why a tier cannot be had.
#[derive(Debug, Clone, Default)]
struct Machine {
    kernel: String,
    /// AppArmor keeps unprivileged programs from making user namespaces of use.
    apparmor_restricts: bool,
    /// The machine's own switch for user namespaces is off.
    namespaces_off: bool,
    is_root: bool,
    in_container: bool,
}

impl Machine {
    fn look() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let off = ["/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/user/max_user_namespaces"];
        Machine {
            kernel: read("/proc/sys/kernel/osrelease"),
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            namespaces_off: off.iter().any(|path| read(path) == "0"),
            is_root: nix::unistd::geteuid().is_root(),
            in_container: fs::exists("/.dockerenv").unwrap_or(false)
                || fs::exists("/run/.containerenv").unwrap_or(false),
        }
    }
}

fn render(findings: &[Finding], machine: &Machine) -> String {
    let best = findings.iter().find(|(_, finding)| finding.is_ok()).map_or(Tier::Open, |(tier, _)| *tier);
    let mut text = format!("kernel {}\n\n", machine.kernel);
    for (tier, finding) in findings {
        let mark = if finding.is_ok() { '✓' } else { '✗' };
        let _ = writeln!(text, "{mark} tier {tier:<5} {}", tier.says());
        if let Err(why) = finding {
            let _ = writeln!(text, "             {why}");
        }
    }
    let _ = writeln!(text, "\nchecks run in tier {best}: {}", best.says());
    advice(best, machine).iter().for_each(|line| {
        let _ = writeln!(text, "\n{line}");
    });
    text
}

/// What to do for a better tier.
fn advice(best: Tier, machine: &Machine) -> Vec<String> {
    let mut advice = Vec::new();
    if best >= Tier::SeparateUser {
        return advice;
    }
    if best < Tier::Namespaces && machine.apparmor_restricts {
        advice.push(
            "for tier 2 (Ubuntu 24.04 and GitHub's ubuntu-24.04 restrict user namespaces):\n  \
             sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n  \
             This lifts the restriction for every program of the machine; on a runner that is thrown away it costs nothing."
                .to_owned(),
        );
    } else if best < Tier::Namespaces && machine.namespaces_off {
        advice.push(
            "for tier 2: user namespaces are switched off; as root,\n  \
             sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1"
                .to_owned(),
        );
    } else if best < Tier::Namespaces && machine.in_container {
        advice.push(
            "for tier 2: the container forbids namespaces; start it with\n  \
             --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
                .to_owned(),
        );
    }
    if best < Tier::Domain {
        advice.push(
            "for tier 1: Linux 6.12 or newer with Landlock among its security modules (lsm=landlock,…)"
                .to_owned(),
        );
    }
    match machine.is_root {
        true => advice.push("for tier 3: root has to be able to make namespaces (CAP_SYS_ADMIN)".to_owned()),
        false if best == Tier::Namespaces => {
            advice.push(
                "for tier 3: run the grader as root, on a machine of its own; tier 2 is enough for a grade"
                    .to_owned(),
            );
        }
        false => {}
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(best: Tier, machine: Machine, expected: &str) {
        let findings: Vec<Finding> = Tier::ALL
            .into_iter()
            .map(|tier| (tier, if tier <= best { Ok(()) } else { Err("not here".to_owned()) }))
            .collect();
        let text = render(&findings, &machine);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&format!("checks run in tier {best}")), "{text}");
    }

    #[test]
    fn ubuntu_is_told_about_its_restriction() {
        let machine = Machine { apparmor_restricts: true, ..Machine::default() };
        check(Tier::Domain, machine, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    }

    #[test]
    fn a_container_is_told_how_to_be_started() {
        check(Tier::Domain, Machine { in_container: true, ..Machine::default() }, "systempaths=unconfined");
    }

    #[test]
    fn an_old_kernel_is_told_which_one_it_takes() {
        check(Tier::Gate, Machine::default(), "Linux 6.12 or newer with Landlock");
    }

    #[test]
    fn the_best_tier_needs_no_advice() {
        assert!(advice(Tier::SeparateUser, &Machine::default()).is_empty());
    }
}
