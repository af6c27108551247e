// New pins without a new release: a signed pin set, fetched over a pinned connection, replaces the pins in the options.
import { generateKeyPairSync } from 'node:crypto'
import axios from 'axios'
import { createPinning, findPinningError, httpsSource, pinOf, signManifest } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const [old, renewed] = [root.issue(), root.issue()]
const { publicKey, privateKey } = generateKeyPairSync('ed25519') // the publisher's; axios-ssl-pinning manifest keygen
const day = 86_400_000
const publish = (/** @type {number} */ version, /** @type {string[]} */ pins) =>
  signManifest({ version, issued: new Date().toISOString(), expires: new Date(Date.now() + 14 * day).toISOString(), audience: 'shop', pins: { localhost: pins } }, [privateKey])

let set = await publish(1, [pinOf(renewed.pem), pinOf(old.pem)])
const source = await startHttpsServer(old, (_req, res) => res.end(set)) // any static host will do
const api = await startHttpsServer(renewed)
const pinning = createPinning({
  pins: { localhost: [pinOf(old.pem), root.issue().pin] }, // the bootstrap pins: they know nothing of the renewed key
  tls: { ca: root.pem },
  updates: { source: httpsSource(`${source.url}/pins.jws`), trustedKeys: [publicKey], audience: 'shop', updatePolicy: 'before-first-request', onUpdate: ({ result, version, error }) => console.log(error ? `${result} (${error.reason}); version ${version} stays` : `${result} to version ${version}`) }
})
const client = axios.create({ baseURL: api.url, proxy: false })
pinning.attach(client)

console.log('under version 1:', (await client.get('/')).status)
set = await publish(2, [pinOf(old.pem), root.issue().pin])
await pinning.refresh()
const refused = await client.get('/').catch((error) => error)
console.log('under version 2:', findPinningError(refused)?.code)
set = await publish(1, [pinOf(renewed.pem)]) // somebody replays version 1
await pinning.refresh()
await Promise.all([pinning.close(), source.close(), api.close()])
