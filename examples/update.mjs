// New pins while the program runs: the next request meets them, sockets and sessions of the old ones are not used again.
import axios from 'axios'
import { findPinningError, pinAxios, pinOf } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const [today, tomorrow] = [root.issue(), root.issue()]
const server = await startHttpsServer(today)
const api = axios.create({ baseURL: server.url, proxy: false })
const pinning = pinAxios(api, { pins: { localhost: [pinOf(today.pem), pinOf(tomorrow.pem)] }, tls: { ca: root.pem } })

console.log('before:', (await api.get('/')).status)
pinning.update({ localhost: [pinOf(tomorrow.pem), root.issue().pin] })
const refused = await api.get('/').catch((error) => error)
console.log('after:', findPinningError(refused)?.code, 'revision', pinning.status().revision)
await Promise.all([pinning.close(), server.close()])
