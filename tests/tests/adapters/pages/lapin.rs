use deadpool_lapin::lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use deadpool_lapin::lapin::{
    self, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
};
use pool_core::adapt::Deadpool;
use pool_core::{ConfigError, Manager, Pool, Usage};

pub(crate) type Connections = Deadpool<deadpool_lapin::Manager>;

/// Connections are dear, and few are enough.
pub(crate) fn connections(url: &str) -> Result<Pool<Connections>, Box<dyn std::error::Error>> {
    let runtime = lapin::runtime::default_runtime()?;
    let manager = deadpool_lapin::Manager::new(url, ConnectionProperties::default, runtime);
    Ok(Pool::builder(Deadpool::new(manager)).max_size(2).build()?)
}

/// Channels of one connection, in confirm mode. A leased one is its caller's alone.
pub(crate) struct Channels(pub(crate) Connection);

impl Manager for Channels {
    type Resource = Channel;
    type Error = lapin::Error;

    async fn create(&self) -> Result<Channel, lapin::Error> {
        let channel = self.0.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }

    async fn check(&self, channel: &mut Channel, _: &Usage) -> Result<(), lapin::Error> {
        if channel.status().connected() {
            Ok(())
        } else {
            Err(lapin::ErrorKind::InvalidChannelState(lapin::ChannelState::Closed, "closed").into())
        }
    }

    // A broker closes the channel of whoever makes a mistake.
    fn is_broken(&self, channel: &mut Channel) -> bool {
        !channel.status().connected()
    }

    async fn close(&self, channel: Channel) {
        drop(channel.close(200, "done".into()).await);
    }
}

pub(crate) fn channels(connection: Connection) -> Result<Pool<Channels>, ConfigError> {
    Pool::builder(Channels(connection)).max_size(16).build()
}

/// True once the broker has the message.
pub(crate) async fn publish(channel: &Channel, queue: &str, payload: &[u8]) -> lapin::Result<bool> {
    let options = BasicPublishOptions {
        mandatory: true, // else a message that no queue takes is dropped, and confirmed
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default().with_delivery_mode(2); // written to disk, if the queue is durable
    let sent = channel.basic_publish("".into(), queue.into(), options, payload, properties);
    Ok(matches!(sent.await?.await?, Confirmation::Ack(None)))
}
