//! The program of `tidemill sql`.

fn main() -> std::process::ExitCode {
    tidemill_sql::command::main()
}
