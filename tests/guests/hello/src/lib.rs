use fyke_sdk::*;

pub struct Hello;

#[http_filter]
impl HttpFilter for Hello {
    type Config = ();
    type Ctx = ();

    fn configure((): (), _: &mut Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    async fn on_response(&self, _: &mut (), response: &mut Response) -> Result<Flow> {
        response.set("x-hello", "world")?;
        Ok(Flow::Continue)
    }
}
