import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createAuthority } from './pki.js'

/** A real ACME server (pebble) and real ACME clients (certbot, lego), on loopback, with all their files in one folder. */
export interface Acme {
  /** The root that issues, PEM; another one on every start. */
  readonly root: string
  /** Where certbot keeps its certificates. */
  readonly live: string
  /** Runs certbot: http-01, on a port that only pebble asks. */
  certbot(...args: string[]): Promise<{ code: number | null; output: string }>
  /** Runs lego, as far as it is installed: its certificates are in `lego/certificates`. */
  lego(command: 'run' | 'renew', ...args: string[]): Promise<{ code: number | null; output: string }>
  stop(): Promise<void>
}

/** Whether lego is there. */
export const hasLego = spawnSync('which', ['lego']).status === 0

/** The programs that are missing, as `program is not installed: apt-get install program`. */
export const missingAcme = ['pebble', 'certbot'].filter((program) => spawnSync('which', [program]).status !== 0).map((program) => `${program} is not installed: apt-get install ${program}`)

export async function startAcme(folder: string): Promise<Acme> {
  const api = createAuthority({ name: 'ACME API' })
  const leaf = api.issue()
  const [acmePort, managementPort, httpPort, tlsPort] = await freePorts(4)
  const path = (name: string): string => join(folder, name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(path('api.pem'), leaf.chainPem)
  writeFileSync(path('api.key'), leaf.keyPem)
  writeFileSync(path('api-root.pem'), api.pem)
  writeFileSync(path('pebble.json'), JSON.stringify({ pebble: { listenAddress: `127.0.0.1:${acmePort}`, managementListenAddress: `127.0.0.1:${managementPort}`, certificate: 'api.pem', privateKey: 'api.key', httpPort, tlsPort, ocspResponderURL: '', externalAccountBindingRequired: false } }))
  const pebble = spawn('pebble', ['-config', 'pebble.json'], { cwd: folder, env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0' }, stdio: 'ignore' })
  const root = await poll(() => get(`https://localhost:${managementPort}/roots/0`, api.pem), pebble)
  return {
    root,
    live: path('config/live'),
    certbot: (...args) => run('certbot', [...args, '--server', `https://localhost:${acmePort}/dir`, '--config-dir', 'config', '--work-dir', 'work', '--logs-dir', 'logs', '--non-interactive', '--agree-tos', '--register-unsafely-without-email', '--standalone', '--http-01-port', String(httpPort), '--http-01-address', '127.0.0.1'], folder),
    lego: (command, ...args) => run('lego', ['--server', `https://localhost:${acmePort}/dir`, '--accept-tos', '--email', 'shop@example.com', '--domains', 'localhost', '--path', 'lego', '--http', '--http.port', `127.0.0.1:${httpPort}`, command, ...args], folder),
    stop: async () => {
      if (pebble.exitCode !== null) return
      const gone = new Promise((resolve) => pebble.once('exit', resolve))
      pebble.kill()
      await gone
    }
  }
}

function run(command: string, args: string[], cwd: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    // Without it renewals wait some minutes, at random, when no terminal is there.
    const child = spawn(command, command === 'certbot' && args[0] === 'renew' ? [...args, '--no-random-sleep-on-renew'] : args, { cwd, env: { ...process.env, REQUESTS_CA_BUNDLE: 'api-root.pem', LEGO_CA_CERTIFICATES: join(cwd, 'api-root.pem') }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

async function poll(read: () => Promise<string>, child: ChildProcess): Promise<string> {
  for (let tries = 0; tries < 200 && child.exitCode === null; tries++) {
    const text = await read().catch(() => '')
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('pebble did not start')
}

function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(url, { ca, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('end', () => resolve(text))
    }).on('error', reject).end()
  })
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
  })))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
