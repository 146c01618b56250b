// What the examples of the documentation pool. Each example includes this file, so that it shows only its own subject.

/// A connection to a database that is always there.
#[derive(Debug)]
struct Connection;

impl Connection {
    async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> {
        Ok(1)
    }
}

/// Opens connections of this type.
struct Db;

impl pool_core::Manager for Db {
    type Resource = Connection;
    type Error = std::io::Error;

    async fn create(&self) -> Result<Connection, Self::Error> {
        Ok(Connection)
    }

    async fn check(&self, _: &mut Connection, _: &pool_core::Usage) -> Result<(), Self::Error> {
        Ok(())
    }
}
