import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { wait } from './clients.js'

/** Proxies from Debian's packages, on the loopback interface. Sbin is where Debian has squid. */
export interface Program {
  readonly url: string
  readonly port: number
  readonly folder: string
  close(): Promise<void>
}

const path = `${process.env['PATH'] ?? ''}:/usr/sbin`

/** `undefined` when it is there, else how to get it: for the names of tests that cannot run. */
export function missing(command: string, debianPackage = command): string | undefined {
  const { status } = spawnSync('sh', ['-c', `command -v ${command}`], { env: { ...process.env, PATH: path } })
  return status === 0 ? undefined : `${command} is not installed: apt-get install ${debianPackage}`
}

export async function startTinyproxy(auth?: string): Promise<Program> {
  return start((port) => ({ 'tinyproxy.conf': [`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 60', 'Allow 127.0.0.1', 'MaxClients 200', ...(auth ? [`BasicAuth ${auth.replace(':', ' ')}`] : [])].join('\n') }), (folder) => ['tinyproxy', '-d', '-c', join(folder, 'tinyproxy.conf')])
}

/** @param auth `user:password` */
export async function startSquid(auth?: string): Promise<Program> {
  const [user, password] = (auth ?? ':').split(':')
  const hash = spawnSync('openssl', ['passwd', '-apr1', '-stdin'], { input: password }).stdout.toString().trim()
  const lines = (port: number, folder: string): string[] => [
    `http_port 127.0.0.1:${port}`, `pid_filename ${folder}/squid.pid`, 'access_log none', `cache_log ${folder}/cache.log`, 'cache deny all', `coredump_dir ${folder}`,
    'visible_hostname squid.test', 'shutdown_lifetime 0 seconds', 'max_filedescriptors 8192', 'dns_nameservers 127.0.0.1', 'hosts_file /etc/hosts', 'netdb_filename none',
    ...(auth ? [`auth_param basic program /usr/lib/squid/basic_ncsa_auth ${folder}/passwd`, 'acl known proxy_auth REQUIRED', 'http_access allow known', 'http_access deny all'] : ['http_access allow all'])
  ]
  return start((port, folder) => ({ 'squid.conf': lines(port, folder).join('\n') + '\n', passwd: `${user}:${hash}\n` }), (folder) => ['squid', '-N', '-f', join(folder, 'squid.conf')])
}

export interface Mitmproxy extends Program {
  /** The certificate of its own CA, for the client's trust store. */
  readonly caFile: string
  /** Ends it, and tells the size of its flow file: 0 means that it has seen no request. */
  flowBytes(): Promise<number>
}

/** @param mode as `--mode` takes it */
export async function startMitmproxy(mode: string): Promise<Mitmproxy> {
  const program = await start(() => ({}), (folder, port) => ['mitmdump', '--mode', mode, '--listen-host', '127.0.0.1', '-p', String(port), '--set', `confdir=${folder}`, '--set', 'ssl_insecure=true', '--set', 'termlog_verbosity=error', '-w', join(folder, 'flows')])
  return {
    ...program,
    caFile: join(program.folder, 'mitmproxy-ca-cert.pem'),
    flowBytes: async () => {
      await program.stop()
      return statSync(join(program.folder, 'flows')).size
    }
  }
}

async function start(files: (port: number, folder: string) => Record<string, string>, command: (folder: string, port: number) => string[]): Promise<Program & { stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-'))
  // squid and tinyproxy give up root.
  chmodSync(folder, 0o777)
  const port = await freePort()
  for (const [name, text] of Object.entries(files(port, folder))) writeFileSync(join(folder, name), text, { mode: 0o644 })
  const [name, ...args] = command(folder, port) as [string, ...string[]]
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PATH: path } })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4_000)))
  const stop = (): Promise<void> => end(child)
  try {
    await listening(port, child)
  } catch (error) {
    await stop()
    throw new Error(`${name} did not start: ${String(error)}\n${output}`)
  }
  const close = async (): Promise<void> => {
    await stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return { url: `http://127.0.0.1:${port}`, port, folder, close, stop }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await Promise.race([ended, wait(5_000)])
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  await ended
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return
    await wait(100)
  }
  throw new Error('it does not listen')
}
