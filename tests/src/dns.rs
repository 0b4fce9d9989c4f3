//! A name server that says what a test wants (RFC 1035), over UDP.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::thread;

/// What a name resolves to, at every question for its IPv4 addresses anew: with how often that was asked before, 0 at first.
pub type Zone = fn(&str, usize) -> Vec<IpAddr>;

/// Types of records.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Answers at port 53 of 127.0.0.1 until the process ends.
pub fn serve(zone: Zone) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).expect("port 53, in a namespace of its own");
    thread::spawn(move || {
        let mut asked: Vec<String> = Vec::new();
        let mut packet = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut packet) {
            let Some(answer) = answer(&packet[..length], zone, &mut asked) else { continue };
            let _ = socket.send_to(&answer, client);
        }
    });
}

fn answer(question: &[u8], zone: Zone, asked: &mut Vec<String>) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let end = at + 4;
    let name = labels.join(".");
    let before = asked.iter().filter(|one| **one == name).count();
    let addresses = zone(&name, before);
    if kind == A {
        asked.push(name);
    }
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (kind, address) {
            (A, IpAddr::V4(v4)) => Some(v4.octets().to_vec()),
            (AAAA, IpAddr::V6(v6)) => Some(v6.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut answer = question.get(..2)?.to_vec();
    // An answer, recursion available; no such name if there is nothing of any kind.
    answer.extend([0x81, if addresses.is_empty() { 0x83 } else { 0x80 }, 0, 1]);
    answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    for record in records {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        // Class IN, and not to be kept at all.
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}
