// What is measured side by side.
import axios from 'axios'
import * as https from 'node:https'
import { checkServerIdentity } from 'node:tls'
import { createPinning } from 'axios-ssl-pinning'
import { Agent as UndiciAgent, buildConnector, request as undiciRequest } from 'undici'

/**
 * @typedef {{ port: number, fingerprint: string, pin: string }} Server
 * @typedef {{ ca: string | undefined, caPin: string, keepAlive?: boolean, sessions?: boolean, proxy?: number | undefined, interceptor?: boolean }} Setting `ca` undefined: Node's own trust store; `interceptor`: with one that sets a header
 * @typedef {{ name: string, get: (url: string, config?: object) => Promise<unknown>, post: (url: string, body: Buffer) => Promise<unknown>, close: () => unknown }} Client
 */

const backup = `sha256/${Buffer.alloc(32, 7).toString('base64')}`

/** @param {Setting} setting */
function poolOf({ keepAlive = true, sessions = true }) {
  return { keepAlive, maxSockets: Infinity, ...(sessions ? {} : { maxCachedSessions: 0 }) }
}

/** @param {string} name @param {import('axios').AxiosInstance} api @param {() => unknown} close @returns {Client} */
function client(name, api, close) {
  return { name, get: (url, config) => api.get(url, config), post: (url, body) => api.post(url, body, { maxBodyLength: Infinity, headers: { 'content-type': 'application/octet-stream' } }), close }
}

/** @param {Setting} setting @param {import('axios').CreateAxiosDefaults} [defaults] */
function instance({ interceptor }, defaults) {
  const api = axios.create(defaults)
  if (interceptor) {
    api.interceptors.request.use((config) => {
      config.headers.set('x-request', 'a')
      return config
    })
  }
  return api
}

/** axios with an agent of Node's, or through a proxy with its own tunnel: the limit. @param {Setting} setting */
export function unpinned(setting) {
  const agent = new https.Agent({ ...poolOf(setting), ...(setting.ca && { ca: setting.ca }) })
  const proxy = setting.proxy ? /** @type {const} */ ({ protocol: 'http', host: '127.0.0.1', port: setting.proxy }) : /** @type {const} */ (false)
  return client('axios without pins', instance(setting, { httpsAgent: agent, proxy }), () => agent.destroy())
}

/** @param {'leaf' | 'SPKI' | 'CA' | 'CA as PEM'} kind @param {Server} server @param {Setting & { caPem?: string }} setting */
export function pinned(kind, server, setting) {
  const policy = { leaf: { certificates: [server.fingerprint, server.fingerprint.replace(/^../, '00')] }, SPKI: { publicKeys: [server.pin, backup] }, CA: { authorities: [setting.caPin, backup] }, 'CA as PEM': { authorities: [setting.caPem ?? '', backup] } }[kind]
  const pinning = createPinning({ pins: { localhost: policy }, agent: poolOf(setting), ...(setting.ca && { tls: { ca: setting.ca } }), proxy: setting.proxy ? `http://127.0.0.1:${setting.proxy}` : false })
  const api = instance(setting)
  pinning.attach(api)
  return client(`pinned: ${kind}`, api, () => pinning.close())
}

/** A client whose pins the server does not have. @param {Server} server @param {Setting} setting @returns {Client} */
export function refused(server, setting) {
  const pinning = createPinning({ pins: { localhost: { certificates: [server.fingerprint.replace(/^../, '00'), server.fingerprint.replace(/^../, '01')] } }, agent: { keepAlive: false }, ...(setting.ca && { tls: { ca: setting.ca } }), proxy: false })
  const api = axios.create()
  pinning.attach(api)
  const get = (/** @type {string} */ url) => api.get(url).then(() => { throw new Error('answered') }, (/** @type {any} */ error) => { if (error.code !== 'ERR_PIN_MISMATCH') throw error })
  return { name: 'refused: leaf', get, post: get, close: () => pinning.close() }
}

/** The sound hand-made recipe: the check in `checkServerIdentity`, and no session resumed, since Node does not call it for those. @param {Server} server @param {Setting} setting */
export function recipe(server, setting) {
  const agent = new https.Agent({
    ...poolOf({ ...setting, sessions: false }),
    ...(setting.ca && { ca: setting.ca }),
    checkServerIdentity: (host, cert) => checkServerIdentity(host, cert) ?? (cert.fingerprint256 === server.fingerprint ? undefined : new Error('not pinned'))
  })
  return client('recipe: checkServerIdentity, no sessions', axios.create({ httpsAgent: agent, proxy: false }), () => agent.destroy())
}

/** The same with a new agent for every request. @param {Server} server @param {Setting} setting */
export function recipePerRequest(server, setting) {
  const api = axios.create({ proxy: false })
  api.interceptors.request.use((config) => {
    const checks = { checkServerIdentity: (/** @type {string} */ host, /** @type {import('node:tls').PeerCertificate} */ cert) => checkServerIdentity(host, cert) ?? (cert.fingerprint256 === server.fingerprint ? undefined : new Error('not pinned')) }
    config.httpsAgent = new https.Agent({ keepAlive: false, maxCachedSessions: 0, ...(setting.ca && { ca: setting.ca }), ...checks })
    return config
  })
  return client('recipe: an agent per request', api, () => undefined)
}

/** undici, its fingerprint compared when a connection is made. @param {Server} server @param {Setting} setting @returns {Client} */
export function undici(server, setting) {
  const connector = buildConnector({ ...(setting.ca && { ca: setting.ca }), maxCachedSessions: 0 })
  const dispatcher = new UndiciAgent({
    pipelining: setting.keepAlive === false ? 0 : 1,
    connect: (options, callback) =>
      connector(options, (error, socket) => {
        if (error) return callback(error, null)
        const tls = /** @type {import('node:tls').TLSSocket} */ (socket)
        if (tls.getPeerCertificate().fingerprint256 === server.fingerprint) return callback(null, tls)
        tls.destroy()
        callback(new Error('not pinned'), null)
      })
  })
  const send = async (/** @type {string} */ url, /** @type {object} */ options) => (await undiciRequest(url, { dispatcher, ...options })).body.text()
  return { name: 'undici, fingerprint at connect', get: (url) => send(url, {}), post: (url, body) => send(url, { method: 'POST', body }), close: () => dispatcher.close() }
}
