//! The supervisor's end of the socket to the dispatcher.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recv, recvmsg, send};

use crate::process::wire::{FRAME, HEADER, Order, Report, Request, announced_length};

/// Sends reports, receives the request and then orders.
pub(super) struct Link {
    socket: File,
    /// An order that has arrived in part.
    partial: Vec<u8>,
}

/// What [`Link::receive_orders`] found.
pub(super) struct Received {
    pub orders: Vec<Order>,
    /// The dispatcher let go, died, or says what is not understood.
    pub is_closed: bool,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket: socket.into(), partial: Vec::new() }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits for the request and the agent's standard input, output and error.
    pub(super) fn receive_request(&mut self) -> Option<(Request, [OwnedFd; 3])> {
        let mut header = [0; HEADER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut header)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
        );
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if read.ok()?.bytes != HEADER {
            return None;
        }
        let mut body = vec![0; announced_length(header)?];
        self.socket.read_exact(&mut body).ok()?;
        Some((Request::decode(&body)?, descriptors.try_into().ok()?))
    }

    /// Tells the dispatcher; when it is gone nobody needs to know. The few reports of a life always fit.
    pub(super) fn report(&self, report: Report) {
        let _ = send(&self.socket, &report.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Takes what has arrived, without waiting.
    pub(super) fn receive_orders(&mut self) -> Received {
        let mut received = Received { orders: Vec::new(), is_closed: false };
        let mut buffer = [0; 64 * FRAME];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => received.is_closed = true,
                Ok((length, _)) => {
                    self.partial.extend_from_slice(&buffer[..length]);
                    self.take_complete(&mut received);
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return received,
                Err(_) => received.is_closed = true,
            }
            if received.is_closed {
                return received;
            }
        }
    }

    fn take_complete(&mut self, received: &mut Received) {
        let (frames, rest) = self.partial.as_chunks::<FRAME>();
        for frame in frames {
            match Order::decode(*frame) {
                Some(order) => received.orders.push(order),
                None => received.is_closed = true,
            }
        }
        self.partial = rest.to_vec();
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
