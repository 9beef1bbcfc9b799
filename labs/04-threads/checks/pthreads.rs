//! What the submission asks of pthreads: `pthread_create`, `pthread_join` and `pthread_detach` are counted on
//! their way to libc, and fail when a check says so. The linker prefers these definitions to libc's, for calls from std too.

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

/// Calls of this process so far.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Threads made, by whatever part of the program.
    pub created: u32,
    /// Those of them that were not made detached.
    pub joinable: u32,
    /// Calls of `pthread_join`, failed ones too.
    pub joins: u32,
    /// Threads given back by a join or a detach that went well.
    pub released: u32,
}

static CREATED: AtomicU32 = AtomicU32::new(0);
static JOINABLE: AtomicU32 = AtomicU32::new(0);
static JOINS: AtomicU32 = AtomicU32::new(0);
static RELEASED: AtomicU32 = AtomicU32::new(0);

/// The creation that will fail, counted down; 0 for none.
static FAIL_CREATE: AtomicU32 = AtomicU32::new(0);
static FAIL_JOIN: AtomicU32 = AtomicU32::new(0);
static ERRNO: AtomicI32 = AtomicI32::new(0);

pub fn calls() -> Calls {
    Calls {
        created: CREATED.load(SeqCst),
        joinable: JOINABLE.load(SeqCst),
        joins: JOINS.load(SeqCst),
        released: RELEASED.load(SeqCst),
    }
}

impl Calls {
    /// What has been called since.
    pub fn since(self) -> Calls {
        let now = calls();
        Calls {
            created: now.created - self.created,
            joinable: now.joinable - self.joinable,
            joins: now.joins - self.joins,
            released: now.released - self.released,
        }
    }
}

/// The `nth` creation from now on (from 0) fails with `errno`.
pub fn fail_create(nth: u32, errno: i32) {
    ERRNO.store(errno, SeqCst);
    FAIL_CREATE.store(nth + 1, SeqCst);
}

/// The next join fails with `errno`.
pub fn fail_join(errno: i32) {
    ERRNO.store(errno, SeqCst);
    FAIL_JOIN.store(1, SeqCst);
}

fn is_to_fail(counter: &AtomicU32) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

/// libc's own function of that name; looked up once.
fn real(name: &CStr, found: &AtomicUsize) -> usize {
    if found.load(SeqCst) == 0 {
        // SAFETY: a C string; the next definition after ours is libc's.
        found.store(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize, SeqCst);
    }
    found.load(SeqCst)
}

/// libc's `pthread_create`, counted.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    id: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    type Create = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        Routine,
        *mut c_void,
    ) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if is_to_fail(&FAIL_CREATE) {
        return ERRNO.load(SeqCst);
    }
    let mut detached = libc::PTHREAD_CREATE_JOINABLE;
    if !attributes.is_null() {
        // SAFETY: the caller's attribute object is initialised.
        unsafe { pthread_attr_getdetachstate(attributes, &mut detached) };
    }
    // SAFETY: libc's function has this type; the caller keeps its contract.
    let error = unsafe {
        transmute::<usize, Create>(real(c"pthread_create", &REAL))(id, attributes, routine, argument)
    };
    if error == 0 {
        CREATED.fetch_add(1, SeqCst);
        JOINABLE.fetch_add(u32::from(detached == libc::PTHREAD_CREATE_JOINABLE), SeqCst);
    }
    error
}

/// libc's `pthread_join`, counted.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(id: libc::pthread_t, value: *mut *mut c_void) -> c_int {
    type Join = unsafe extern "C" fn(libc::pthread_t, *mut *mut c_void) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);
    JOINS.fetch_add(1, SeqCst);
    if is_to_fail(&FAIL_JOIN) {
        return ERRNO.load(SeqCst);
    }
    // SAFETY: libc's function has this type; the caller keeps its contract.
    let error = unsafe { transmute::<usize, Join>(real(c"pthread_join", &REAL))(id, value) };
    RELEASED.fetch_add(u32::from(error == 0), SeqCst);
    error
}

/// libc's `pthread_detach`, counted.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_detach(id: libc::pthread_t) -> c_int {
    type Detach = unsafe extern "C" fn(libc::pthread_t) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: libc's function has this type; the caller keeps its contract.
    let error = unsafe { transmute::<usize, Detach>(real(c"pthread_detach", &REAL))(id) };
    RELEASED.fetch_add(u32::from(error == 0), SeqCst);
    error
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const libc::pthread_attr_t, state: *mut c_int) -> c_int;
}

/// What pthreads say about the calling thread: bytes of stack, and whether it is detached.
pub fn own_attributes() -> (usize, bool) {
    let mut object = std::mem::MaybeUninit::uninit();
    let (mut lowest, mut size, mut state) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the object is initialised by the first call, used by the next two, and destroyed by the last.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), object.as_mut_ptr()) != 0 {
            return (0, false);
        }
        libc::pthread_attr_getstack(object.as_ptr(), &mut lowest, &mut size);
        pthread_attr_getdetachstate(object.as_ptr(), &mut state);
        libc::pthread_attr_destroy(object.as_mut_ptr());
    }
    (size, state == libc::PTHREAD_CREATE_DETACHED)
}
