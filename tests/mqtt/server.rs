//! A Mosquitto of the tests, on a free port of loopback, and a client that publishes.

use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::process::{Child, Command, Stdio};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::eventually;
use crate::temp_dir::TempDir;

pub struct Server {
    dir: TempDir,
    port: u16,
    login: Option<(String, String)>,
    process: Option<Child>,
}

impl Server {
    /// Anybody may connect.
    pub fn start(name: &str) -> Server {
        let mut server = Server::new(name);
        server.configure("allow_anonymous true\n");
        server.run();
        server
    }

    /// Only this user may connect.
    pub fn with_password(name: &str, user: &str, password: &str) -> Server {
        let mut server = Server::new(name);
        let file = server.dir.join("passwords");
        std::fs::write(&file, format!("{user}:{password}\n")).unwrap();
        let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&file).status();
        assert!(hashed.expect("mosquitto_passwd is missing: apt-get install mosquitto").success());
        server.configure(&format!("allow_anonymous false\npassword_file {}\n", file.display()));
        server.login = Some((user.into(), password.into()));
        server.run();
        server
    }

    fn new(name: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Server { dir: TempDir::made(name), port, login: None, process: None }
    }

    fn configure(&self, more: &str) {
        // Started as root, it would become another user, who cannot write here.
        let config = format!(
            "listener {} 127.0.0.1\nuser root\npersistence true\npersistence_location {}/\nmax_queued_messages 100000\n{more}",
            self.port,
            self.dir.display()
        );
        std::fs::write(self.dir.join("config"), config).unwrap();
    }

    /// Starts it, and waits until it answers.
    pub fn run(&mut self) {
        // Debian puts it where only root looks.
        let mut run = Command::new("/usr/sbin/mosquitto");
        run.arg("-c").arg(self.dir.join("config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(run.spawn().expect("mosquitto is missing: apt-get install mosquitto"));
        let address = self.address();
        eventually("the broker answers", || TcpStream::connect(&address).is_ok());
    }

    /// Ends it. It writes its sessions and their messages to its file.
    pub fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        process.wait().unwrap();
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Publishes numbers with quality 1. Returns when the broker has all of them.
    pub fn publish(&self, topic: &str, numbers: Range<i64>) {
        self.publish_all(topic, numbers.map(|n| n.to_string().into_bytes()).collect());
    }

    pub fn publish_all(&self, topic: &str, payloads: Vec<Vec<u8>>) {
        let mut options = MqttOptions::new(format!("publisher-{topic}"), "127.0.0.1", self.port);
        options.set_max_packet_size(16 << 20, 16 << 20);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, payloads.len() + 1);
        let mut left = payloads.len();
        payloads.into_iter().for_each(|payload| client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap());
        for event in connection.iter() {
            if let Event::Incoming(Packet::PubAck(_)) = event.unwrap() {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        assert_eq!(left, 0, "the broker has not taken all");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
