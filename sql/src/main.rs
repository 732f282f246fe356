//! The program of `tidemill sql`.

// Rows come and go on several threads, where the allocator of the system is slow.
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tidemill_sql::command::main()
}
