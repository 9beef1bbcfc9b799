//! What a process does to others.

pub fn come_back() -> u32 {
    todo!("return 7")
}

pub fn stay_alive() -> u32 {
    todo!("return 7")
}

pub fn come_to_an_end() {
    todo!("return")
}

pub fn leave_no_process() {
    todo!("fork a child that ends at once, and wait for it")
}

pub fn leave_no_zombie() {
    todo!("fork a child that ends at once, and wait for it")
}

pub fn close_what_it_opens() {
    todo!("open /dev/null and close it")
}

pub fn device() -> String {
    todo!("name a file")
}
