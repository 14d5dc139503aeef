// An identity provider for the tests: provider.js PORT RETURN_ADDRESS SECRET. Whoever signs in with an address is known by it; an address
// that begins with "unverified" is told as not verified. Its pages for signing in are those that oidc-provider has for development.
import { Provider } from "oidc-provider";

const [port, returnAddress, secret] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "dashboard", client_secret: secret, redirect_uris: [returnAddress] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  cookies: { keys: ["of a test"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: id, email_verified: !id.startsWith("unverified") }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
