//! From a Kafka message to a document in the batch, or to a dead letter in it.

use common::event::{self, Accepted, Event, Invalid};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use crate::batch::{Batch, Origin};
use crate::dead_letter::{DeadLetter, Stage};

/// Adds a message to the batch.
pub fn take(batch: &mut Batch, message: &BorrowedMessage<'_>, accepted: &Accepted) {
    match decode(message, accepted) {
        Ok(event) => batch.push(&event, Origin { partition: message.partition(), offset: message.offset() }),
        Err(invalid) => batch.reject(DeadLetter::new(message, Stage::Decode, invalid.reason, invalid.to_string())),
    }
}

fn decode<'a>(message: &'a BorrowedMessage<'_>, accepted: &Accepted) -> Result<Event<'a>, Box<Invalid>> {
    let headers =
        message.headers().into_iter().flat_map(|headers| headers.iter().map(|header| (header.key, header.value)));
    let event = event::Message { value: message.payload(), headers }.decode()?;
    accepted.check(&event)?;
    Ok(event)
}
