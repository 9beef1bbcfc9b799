//! The system calls that a check does without: those that reach outside, that only an attack on the kernel needs, or that
//! would take the supervisor over.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

use super::sweep;

/// Refused with EPERM whatever the arguments.
const REFUSED: &[c_long] = &[
    // File systems and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_syslog,
    // Wide doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    // Another process's memory and descriptors; reading is what the checks observe with.
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // Its argument does not say whom it signals.
    libc::SYS_pidfd_send_signal,
];

/// The child gets the caller's parent: it would not be the supervisor's to look after.
const CLONE_BITS: [i32; 8] = [
    libc::CLONE_PARENT,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Calls that signal the process in their first argument, and which argument the signal is in.
const SIGNALLING: [(c_long, u8); 5] = [
    (libc::SYS_kill, 1),
    (libc::SYS_tkill, 1),
    (libc::SYS_tgkill, 2),
    (libc::SYS_rt_sigqueueinfo, 1),
    (libc::SYS_rt_tgsigqueueinfo, 2),
];

/// Ways to have the kernel signal somebody when a descriptor is ready, by an argument in memory that no filter can read.
const OWNING: [(c_long, u64); 3] =
    [(libc::SYS_fcntl, F_SETOWN_EX), (libc::SYS_ioctl, FIOSETOWN), (libc::SYS_ioctl, SIOCSPGRP)];
const F_SETOWN_EX: u64 = 15;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// What a warden is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Each new process and thread.
    pub forks: bool,
    /// Each socket that may have a name. Pairs have none.
    pub sockets: bool,
    /// What may make objects that outlive their makers.
    pub objects: bool,
}

/// Whether POSIX message queues can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// Yes.
    Allowed,
    /// No: Landlock would refuse to open them, but leave them behind.
    Refused,
}

/// Installs the filter for the calling thread and all it starts. `untouchable` are processes that get no signal from it:
/// the supervisor, which the calling process is about to become, and whoever nothing else keeps signals from.
///
/// # Errors
/// When the kernel has no system-call filters.
pub fn install(untouchable: &[i32], queues: Queues) -> Result<(), String> {
    let refused = program(untouchable, queues).map_err(|error| format!("seccomp: {error}"))?;
    for filter in [refused, absent()] {
        apply_filter(&filter).map_err(|error| format!("seccomp: {error}"))?;
    }
    Ok(())
}

fn program(untouchable: &[i32], queues: Queues) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    if queues == Queues::Refused {
        rules.insert(libc::SYS_mq_open, Vec::new());
    }
    let bits = CLONE_BITS.iter().map(|bit| {
        let bit = u64::from(bit.cast_unsigned());
        when(0, SeccompCmpOp::MaskedEq(bit), bit)
    });
    rules.insert(libc::SYS_clone, bits.collect::<Result<_, _>>()?);
    // Only the sockets of this machine's own processes.
    rules.insert(libc::SYS_socket, vec![when(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?]);
    // Tracing begins with the traced process's own request; nobody is attached to.
    let attach = [libc::PTRACE_ATTACH, libc::PTRACE_SEIZE].map(u64::from);
    let attach = attach.into_iter().map(|request| when(0, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ptrace, attach.collect::<Result<_, _>>()?);
    // Pushing characters into a terminal.
    rules.insert(libc::SYS_ioctl, vec![when(1, SeccompCmpOp::Eq, libc::TIOCSTI)?]);
    for (call, request) in OWNING {
        rules.entry(call).or_default().push(when(1, SeccompCmpOp::Eq, request)?);
    }
    let owner = |pid: i32| both((1, libc::F_SETOWN as u64), (2, u64::from(pid.cast_unsigned())));
    let owners = untouchable.iter().flat_map(|&pid| [owner(pid), owner(-pid)]);
    rules.entry(libc::SYS_fcntl).or_default().extend(owners.collect::<Result<Vec<_>, _>>()?);
    // Who cannot be looked at cannot be held to a limit.
    rules.insert(libc::SYS_prctl, vec![both((0, libc::PR_SET_DUMPABLE as u64), (1, 0))?]);
    for (call, signal) in SIGNALLING {
        let mut targets = untouchable.to_vec();
        if call == libc::SYS_kill {
            targets.extend(untouchable.iter().map(|pid| -pid));
            // Everybody that may be signalled, and the group that a worker is in with its supervisor.
            targets.extend([-1, 0]);
        }
        let rule = |pid: &i32| sending(signal, u64::from(pid.cast_unsigned()));
        let targets: Vec<SeccompRule> = targets.iter().map(rule).collect::<Result<_, _>>()?;
        // A call without conditions would be refused altogether.
        if !targets.is_empty() {
            rules.insert(call, targets);
        }
    }
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// A rule for a signal, whose number is in this argument, to `target`. Signal 0 only asks whether there is such a process.
fn sending(signal: u8, target: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition =
        |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, target)?, condition(signal, SeccompCmpOp::Ne, 0)?])
}

/// A rule for the lower halves of two arguments, which have these values.
fn both(one: (u8, u64), other: (u8, u64)) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition =
        |(argument, value)| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    SeccompRule::new(vec![condition(one)?, condition(other)?])
}

/// A rule for the lower half of one argument.
fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
}

/// Offsets in `struct seccomp_data`: the call's number, and the lower half of its first argument.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
/// Calls of the x32 interface have this bit; a filter by number would not know them.
const X32: u32 = 0x4000_0000;

/// `clone3` does not exist, whose flags are in memory where no filter can read them (glibc then calls `clone`); nor does x32.
fn absent() -> BpfProgram {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    vec![
        load(NUMBER),
        jump(libc::BPF_JGE, X32, 1, 0),
        jump(libc::BPF_JEQ, libc::SYS_clone3 as u32, 0, 1),
        end(enosys),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

/// The filter that asks the listener.
pub fn asks(asking: Asking) -> BpfProgram {
    let forks: &[c_long] = match asking.forks {
        true => &[libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork],
        false => &[],
    };
    let objects = if asking.objects { sweep::MAKING.as_slice() } else { &[] };
    let mut program = vec![load(NUMBER)];
    for &call in forks.iter().chain(objects) {
        program.extend([jump(libc::BPF_JEQ, call as u32, 0, 1), end(libc::SECCOMP_RET_USER_NOTIF)]);
    }
    let opening = if asking.objects { sweep::OPENING.as_slice() } else { &[] };
    for &(call, flags) in opening {
        program.extend([
            jump(libc::BPF_JEQ, call as u32, 0, 4),
            load(FIRST_ARGUMENT + 8 * u32::from(flags)),
            jump(libc::BPF_JSET, libc::O_CREAT.cast_unsigned(), 0, 1),
            end(libc::SECCOMP_RET_USER_NOTIF),
            end(libc::SECCOMP_RET_ALLOW),
        ]);
    }
    if asking.sockets {
        program.extend([
            jump(libc::BPF_JEQ, libc::SYS_socket as u32, 0, 3),
            load(FIRST_ARGUMENT),
            jump(libc::BPF_JEQ, libc::AF_UNIX as u32, 0, 1),
            end(libc::SECCOMP_RET_USER_NOTIF),
        ]);
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    program
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

/// Compares with `value`; goes so many instructions further if it is so, and if it is not.
fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, yes, no, value)
}

fn end(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_small_enough_for_the_kernel() {
        let length = program(&[4711, 4712], Queues::Refused).expect("a program").len();
        assert!(length < 1000, "{length} instructions");
    }

    #[test]
    fn every_jump_lands_inside() {
        let asking = Asking { forks: true, sockets: true, objects: true };
        for filter in [absent(), asks(asking), program(&[], Queues::Allowed).expect("a program")] {
            for (place, step) in filter.iter().enumerate() {
                let is_jump = u32::from(step.code) & 7 == libc::BPF_JMP;
                let furthest = place + 1 + usize::from(step.jt.max(step.jf));
                assert!(!is_jump || furthest < filter.len(), "{place}: {step:?}");
            }
        }
    }
}
