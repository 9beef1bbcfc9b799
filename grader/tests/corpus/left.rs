//! What is left on the machine, and that what others have there is left alone.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::course::{Course, target};

/// What is gone so soon was not left: somebody else may run a corpus at the same time.
const SOON: Duration = Duration::from_secs(60);
/// The mode of every object that an entry makes, which nobody else uses.
const MODE: u32 = 0o617;

/// Processes of the checks that the grader `pid` has started, in whatever namespace they are.
pub fn processes_of(pid: u32) -> Vec<u32> {
    let mark = format!("GRADER_CHECK={pid}-");
    let folder = target().join(format!("grader/run/{pid}-")).display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    };
    let works_there = |pid: &u32| {
        let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        place.to_string_lossy().starts_with(&folder)
    };
    // Neither can be seen of a warden that keeps its memory to itself; what it was told to do can.
    let told = format!("\"grader\":{pid},");
    let is_a_warden = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"grader-warden\0") && String::from_utf8_lossy(&line).contains(&told)
    };
    pids.filter(|pid| is_marked(pid) || works_there(pid) || is_a_warden(pid)).collect()
}

/// What the corpus could have left on the machine, or changed.
pub struct Left {
    things: BTreeSet<String>,
    /// The course's files, with what is in them.
    course: BTreeSet<(PathBuf, u64)>,
}

impl Left {
    pub fn now(course: &Course) -> Left {
        let mut things: BTreeSet<String> = objects().into_iter().chain(names()).collect();
        let home = PathBuf::from(std::env::var("HOME").unwrap_or_default());
        let places = ["/tmp", "/var/tmp", "/etc", "/usr"].iter().map(PathBuf::from).chain([home]);
        things.extend(
            places.map(|place| place.join("corpus-was-here")).filter(|file| file.exists()).map(shown),
        );
        things.extend(files_below(&target().join("grader/run")).map(shown));
        // Not their order, nor their numbers, which are given anew when one is gone.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        things.extend(mounts.lines().map(|mount| format!("the mount {mount}")));
        let hashed = |file: PathBuf| {
            let mut hasher = DefaultHasher::new();
            fs::read(&file).unwrap().hash(&mut hasher);
            (file, hasher.finish())
        };
        Left { things, course: course.files().into_iter().map(hashed).collect() }
    }

    /// What has been added.
    pub fn added(&self, course: &Course) -> Vec<String> {
        Left::now(course).things.difference(&self.things).cloned().collect()
    }

    /// Nothing has been added, or it soon will be gone, and the course is as it was.
    #[track_caller]
    pub fn nothing_has_changed(&self, course: &Course, what: &str) {
        let start = Instant::now();
        loop {
            let now = Left::now(course);
            assert_eq!(self.course, now.course, "{what} has changed the course");
            let left: Vec<&String> = now.things.difference(&self.things).collect();
            if left.is_empty() {
                return;
            }
            if start.elapsed() > SOON {
                let left: Vec<String> = left.into_iter().map(|thing| described(thing)).collect();
                panic!("{what} has left {left:#?}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn shown(path: PathBuf) -> String {
    path.display().to_string()
}

fn files_below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// A thing with what tells whose it was: the line about an object, with its size and its maker's number; what is in a file
/// or a folder.
fn described(thing: &str) -> String {
    let mut words = thing.strip_prefix("the System V object ").unwrap_or_default().split(' ');
    if let (Some(kind), Some(id)) = (words.next(), words.next()) {
        let table = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        let line = table.lines().find(|line| line.split_ascii_whitespace().nth(1) == Some(id));
        return format!("{thing}: {}", line.unwrap_or_default());
    }
    let inside: Vec<String> = files_below(Path::new(thing)).map(shown).collect();
    let mut text = Vec::new();
    if fs::metadata(thing).is_ok_and(|status| status.is_file()) {
        let _ = fs::File::open(thing).and_then(|file| file.take(200).read_to_end(&mut text));
    }
    format!("{thing}: {}{}", inside.join(", "), String::from_utf8_lossy(&text))
}

/// System V objects of the entries.
fn objects() -> Vec<String> {
    let table = |kind| {
        let table = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        let ours = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (id, mode) = (fields.next()?, u32::from_str_radix(fields.next()?, 8).ok()?);
            (mode & 0o777 == MODE).then(|| format!("the System V object {kind} {id}"))
        };
        table.lines().filter_map(ours).collect::<Vec<_>>()
    };
    ["shm", "sem", "msg"].into_iter().flat_map(table).collect()
}

/// Names of the entries in folders of the kernel's.
fn names() -> Vec<String> {
    let entries = ["/dev/shm", "/dev/mqueue"].into_iter().flat_map(|folder| files_below(Path::new(folder)));
    entries.map(shown).filter(|name| name.contains("corpus-")).collect()
}

/// Another program of the same user, which makes objects of its own while checks run.
pub struct Neighbour {
    is_done: AtomicBool,
}

impl Neighbour {
    pub fn new() -> Neighbour {
        Neighbour { is_done: AtomicBool::new(false) }
    }

    /// It moves in.
    pub fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        scope.spawn(|| {
            let mut objects = Vec::new();
            while !self.is_done.load(Ordering::Acquire) {
                if objects.len() < 100 {
                    objects.push(Objects::new());
                }
                std::thread::park_timeout(Duration::from_millis(30));
            }
            let gone = objects.into_iter().filter(|objects| !objects.remove()).count();
            assert_eq!(gone, 0, "objects of somebody else's were removed");
        });
    }
}

/// Tells the neighbour, when dropped, to look whether everything is still there.
pub struct Done<'a>(pub &'a Neighbour);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.is_done.store(true, Ordering::Release);
    }
}

/// One of each, which nobody has open.
struct Objects {
    segment: i32,
    semaphores: i32,
    queue: i32,
    name: PathBuf,
}

impl Objects {
    fn new() -> Objects {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = PathBuf::from(format!("/dev/shm/neighbour-{}-{number}", std::process::id()));
        fs::write(&name, "").unwrap();
        let flags = libc::IPC_CREAT | 0o640;
        // SAFETY: plain system calls.
        unsafe {
            Objects {
                segment: libc::shmget(libc::IPC_PRIVATE, 4096, flags),
                semaphores: libc::semget(libc::IPC_PRIVATE, 1, flags),
                queue: libc::msgget(libc::IPC_PRIVATE, flags),
                name,
            }
        }
    }

    /// Whether all were there.
    fn remove(&self) -> bool {
        let none = std::ptr::null_mut();
        let was_there = |id: i32, removed: i32| id == -1 || removed == 0;
        // SAFETY: objects of our own; removal reads nothing but the number.
        unsafe {
            let segment = was_there(self.segment, libc::shmctl(self.segment, libc::IPC_RMID, none));
            let semaphores = was_there(self.semaphores, libc::semctl(self.semaphores, 0, libc::IPC_RMID));
            let queue = was_there(self.queue, libc::msgctl(self.queue, libc::IPC_RMID, none.cast()));
            segment && semaphores && queue && fs::remove_file(&self.name).is_ok()
        }
    }
}
