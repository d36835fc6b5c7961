//! The permissions that an agent asks for, put to whoever sits at the terminal.

use std::collections::VecDeque;

use dispatch_core::{
    agent::{Answer, PermissionRequest},
    frame::FrameBody,
};

use crate::{keyboard::Keyboard, show::text::safe_line};

/// A user's answer to a permission request.
pub struct Answered {
    /// The request's id.
    pub id: String,
    /// The answer.
    pub answer: Answer,
}

/// What waits for an answer. The first one is the question that was put, if one was.
#[derive(Default)]
pub struct Questions {
    open: VecDeque<PermissionRequest>,
    is_put: bool,
}

impl Questions {
    /// Takes a request, or hears that one was answered: by its limit or by a Stop, perhaps.
    pub fn note(&mut self, body: FrameBody) {
        match body {
            FrameBody::PermissionRequest { request, waits_s: Some(_) } => self.open.push_back(request),
            FrameBody::PermissionResolved { id, .. } => {
                self.is_put &= self.open.front().is_some_and(|request| request.id != id);
                self.open.retain(|request| request.id != id);
            }
            _ => {}
        }
    }

    /// The next answer that the user gives; the end of the input is a no. Cancel-safe.
    pub async fn answered(&mut self, keyboard: &mut Keyboard) -> Answered {
        loop {
            let Some(request) = self.open.front() else { return std::future::pending().await };
            if !std::mem::replace(&mut self.is_put, true) {
                ask!("allow once: {}? [y/n] ", safe_line(&request.tool_call.title));
            }
            let line = keyboard.line().await;
            self.is_put = false;
            let answer = match line.as_deref() {
                Some("y" | "yes") => Answer::Allow,
                Some("n" | "no") | None => Answer::Deny,
                Some(_) => continue,
            };
            let id = request.id.clone();
            self.open.pop_front();
            return Answered { id, answer };
        }
    }
}
