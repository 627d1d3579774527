//! How much this process counts against others that want processor and disk.

use std::io;

use nix::libc;

/// Of the classes that the kernel has for I/O.
const BEST_EFFORT: libc::c_int = 2;
const CLASS_SHIFT: u32 = 13;
const LOWEST_OF_CLASS: libc::c_int = 7;
const WHO_PROCESS: libc::c_int = 1;
/// The caller itself.
const SELF: libc::c_int = 0;
const NICE: libc::c_int = 10;

/// Puts this thread, and all that it starts from now on, behind others. The I/O scheduler may have no priorities; then
/// only the processor's counts.
///
/// # Errors
/// When the kernel refuses.
#[allow(unsafe_code)]
pub fn lower() -> io::Result<()> {
    // SAFETY: plain system calls with numbers for arguments; neither touches memory of ours.
    let (nice, io) = unsafe {
        (
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE),
            libc::syscall(
                libc::SYS_ioprio_set,
                WHO_PROCESS,
                SELF,
                (BEST_EFFORT << CLASS_SHIFT) | LOWEST_OF_CLASS,
            ),
        )
    };
    if nice != 0 || io != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_that_are_started_afterwards_are_behind_too() {
        let nice = std::thread::spawn(|| {
            super::lower().unwrap();
            let stat = || std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 19th field; the second may hold blanks and ends with a bracket.
            let nice =
                |stat: String| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).map(str::to_owned);
            (nice(stat()), std::thread::spawn(move || nice(stat())).join().unwrap())
        });
        let (own, child) = nice.join().unwrap();
        assert_eq!((own.as_deref(), child.as_deref()), (Some("10"), Some("10")));
    }
}
