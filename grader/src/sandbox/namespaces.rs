//! A machine of its own for a check: its processes, IPC objects, mounts and network are nobody else's, and all of it is gone
//! with the last process in it.
//!
//! The file system is the machine's, read-only, without homes, runtime sockets and the course; on top of it are a private
//! `/proc`, `/dev` and `/tmp`. The check's directory is [`WORK`].

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::limits;

/// The check's directory in there.
pub const WORK: &str = "/tmp/check";
/// The check binary in there.
pub const PROGRAM: &str = "/tmp/checks";

/// A failure, with what was being done.
type Step<T = ()> = Result<T, String>;

/// Moves the calling process into namespaces of its own; its next child is the first process there. The network's is
/// made apart.
///
/// With `as_root` the namespaces belong to the machine's root; otherwise to a user namespace in which we are root.
pub fn enter(as_root: bool) -> Step {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let kinds = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS;
    let user_too = if as_root { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(kinds | user_too).map_err(|error| format!("unshare: {error}"))?;
    if as_root {
        return Ok(());
    }
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}

/// What the file system of the check shows.
#[derive(Debug)]
pub struct View<'a> {
    /// The check binary, as the machine names it.
    pub program: &'a Path,
    /// Folders that are empty in there.
    pub hidden: &'a [PathBuf],
    /// Folders that are shown, in hidden ones too.
    pub shown: &'a [PathBuf],
    /// The check's directory, as the machine names it: on a disk, for what a check has to say about disks.
    pub work: &'a Path,
}

impl View<'_> {
    /// Builds it. To be called by the first process of the namespaces.
    pub fn build(&self) -> Step {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .map_err(|error| format!("make mounts private: {error}"))?;
        // Held open, for they may lie below a folder that is covered now.
        let program = hold(self.program)?;
        let work = hold(self.work)?;
        let shown: Vec<_> =
            self.shown.iter().filter_map(|folder| Some((folder, hold(folder).ok()?))).collect();
        tmpfs("/tmp", "mode=0755,size=256k,nr_inodes=256", MsFlags::empty())?;
        create_folder(WORK)?;
        let size = format!("size={},nr_inodes={}", limits::DISK, limits::FILES);
        bind(&held(&work), WORK)?;
        fs::write(PROGRAM, "").map_err(|error| format!("create {PROGRAM}: {error}"))?;
        bind(&held(&program), PROGRAM)?;
        self.build_dev(&size)?;
        for folder in self.hidden.iter().filter(|folder| folder.is_dir()) {
            tmpfs(folder, "mode=0755,size=256k,nr_inodes=256", MsFlags::MS_NOSUID)?;
        }
        for (folder, file) in shown {
            if !folder.is_dir() {
                fs::create_dir_all(folder)
                    .map_err(|error| format!("create {}: {error}", folder.display()))?;
            }
            bind(&held(&file), folder)?;
        }
        read_only()?;
        // Read-only once the limits are set.
        mount(Some("proc"), "/proc", Some("proc"), quiet(), None::<&str>)
            .map_err(|error| format!("mount /proc: {error}"))?;
        self.writable()
    }

    fn build_dev(&self, size: &str) -> Step {
        let new = Path::new("/tmp/dev");
        create_folder(new)?;
        tmpfs(new, "mode=0755,size=64k,nr_inodes=64", MsFlags::MS_NOSUID)?;
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let place = new.join(device);
            fs::write(&place, "").map_err(|error| format!("create {}: {error}", place.display()))?;
            bind(&Path::new("/dev").join(device), &place)?;
        }
        let links = [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        for (name, target) in links {
            symlink(target, new.join(name)).map_err(|error| format!("link {name}: {error}"))?;
        }
        create_folder(new.join("shm"))?;
        tmpfs(new.join("shm"), &format!("mode=1777,{size}"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
        create_folder(new.join("pts"))?;
        let terminals = "newinstance,ptmxmode=0666,mode=0620";
        mount(Some("devpts"), &new.join("pts"), Some("devpts"), MsFlags::MS_NOSUID, Some(terminals))
            .map_err(|error| format!("mount devpts: {error}"))?;
        create_folder(new.join("mqueue"))?;
        mount(Some("mqueue"), &new.join("mqueue"), Some("mqueue"), quiet(), None::<&str>)
            .map_err(|error| format!("mount mqueue: {error}"))?;
        mount(Some(new), "/dev", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(|error| format!("move /dev: {error}"))
    }

    /// What stays writable when all else is read-only.
    fn writable(&self) -> Step {
        [WORK, "/dev/shm", "/dev/mqueue", "/dev/pts"]
            .iter()
            .try_for_each(|path| set_read_only(path, false, 0))
    }
}

/// From here on nobody writes in `/proc`: where there is no Landlock, a supervisor's memory could be written to there.
pub fn seal() -> Step {
    set_read_only("/proc", true, 0)
}

/// Limits that a namespace keeps for all its processes together. One that this kernel does not have is done without.
pub fn limit(as_root: bool) {
    let mut figures = vec![
        ("/proc/sys/kernel/shmall", limits::SEGMENTS / 4096),
        ("/proc/sys/kernel/shmmax", limits::SEGMENTS),
        ("/proc/sys/kernel/shmmni", 1024),
        ("/proc/sys/kernel/msgmni", 1024),
    ];
    if !as_root {
        // As the machine's root these would be the machine's own, on kernels that keep them for all namespaces.
        figures.push(("/proc/sys/kernel/pid_max", limits::TASKS));
        figures.push(("/proc/sys/user/max_user_namespaces", 0));
    }
    for (file, figure) in figures {
        let _ = fs::write(file, figure.to_string());
    }
}

fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

fn tmpfs(path: impl AsRef<Path>, options: &str, flags: MsFlags) -> Step {
    let path = path.as_ref();
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))
        .map_err(|error| format!("mount {}: {error}", path.display()))
}

/// Keeps a file or folder reachable by its descriptor.
fn hold(path: &Path) -> Step<File> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    opened.map_err(|error| format!("open {}: {error}", path.display()))
}

fn held(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn bind(from: &Path, to: impl AsRef<Path>) -> Step {
    let to = to.as_ref();
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| format!("show {} as {}: {error}", from.display(), to.display()))
}

fn create_folder(path: impl AsRef<Path>) -> Step {
    let path = path.as_ref();
    fs::create_dir(path).map_err(|error| format!("create {}: {error}", path.display()))
}

fn write(path: &str, text: &str) -> Step {
    fs::write(path, text).map_err(|error| format!("write {path}: {error}"))
}

/// Every mount there is becomes read-only.
fn read_only() -> Step {
    set_read_only("/", true, libc::AT_RECURSIVE)
}

fn set_read_only(path: &str, yes: bool, flags: i32) -> Step {
    let (set, clear) = if yes { (libc::MOUNT_ATTR_RDONLY, 0) } else { (0, libc::MOUNT_ATTR_RDONLY) };
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let name = CString::new(path).map_err(|error| format!("{path}: {error}"))?;
    // SAFETY: the path is a C string, the structure valid and of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            name.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map_err(|error| format!("mount_setattr {path}: {}", io::Error::from(error)))?;
    Ok(())
}
