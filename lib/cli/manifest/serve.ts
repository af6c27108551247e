import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import type { Stats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Command } from 'commander'
import { defaultMaxBytes } from '../../update/manifest.js'
import { action, createCommand } from '../command.js'
import type { Run } from '../command.js'
import { CommandError, exitCode } from '../exit.js'
import { firstLine, showText } from '../format.js'
import { readInput } from '../input.js'
import { parsePort, parseWhole } from './arguments.js'
import { readSigned } from './signed.js'

interface ServeOptions {
  port: number
  host: string
  path: string
  maxAge: number
  tlsCert?: string
  tlsKey?: string
}

/** `manifest serve <file>`: a small server for one signed set. */
export function serveCommand(run: Run): Command {
  return createCommand('serve', 'Serve one signed pin set over HTTP, for tests and small installations. The recommended way is any static host or CDN.')
    .argument('<file>', 'the signed set; replaced atomically ("manifest sign --out" does), the new one is served at once')
    .option('--port <number>', '0 for any free one', parsePort, 8_080)
    .option('--host <address>', 'the address to listen at; 0.0.0.0 for all', '127.0.0.1')
    .option('--path <path>', 'the path of its URL', '/pins.jws')
    .option('--max-age <seconds>', 'for how long caches may hold it', parseWhole, 60)
    .option('--tls-cert <file>', 'serve over HTTPS, which httpsSource() needs: the certificate and its chain, PEM')
    .option('--tls-key <file>', 'its private key, PEM')
    .action(
      action(run, async (output, file: string, options: ServeOptions) => {
        if (!options.path.startsWith('/')) throw new CommandError('--path: right would be a path that begins with /', exitCode.usage)
        const manifest = new ServedManifest(file)
        await manifest.current()
        const server = await createServer(manifestListener(manifest, options, (text) => output.note(text)), options, run)
        const end = ended()
        await listen(server, options)
        const { port } = server.address() as AddressInfo
        const url = `${options.tlsCert === undefined ? 'http' : 'https'}://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}${options.path}`
        output.line({ url, port }, () => `serving ${showText(file)} at ${url}`)
        await end
        server.close()
        server.closeAllConnections()
        return exitCode.ok
      })
    )
}

/** A file, read again whenever it has changed. */
export class ServedManifest {
  #read: { identity: string; served: Served } | undefined

  constructor(readonly file: string) {}

  /** @throws {CommandError} when it cannot be read, or is no signed set: nothing else is ever handed out */
  async current(): Promise<Served> {
    try {
      if (this.#read?.identity === identityOf(await stat(this.file))) return this.#read.served
      // Opening a pipe that has no writer would wait for ever.
      const handle = await open(this.file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
      return await this.#readAgain(handle).finally(() => handle.close())
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (error instanceof CommandError) throw error
      throw new CommandError(`${showText(this.file)} cannot be read: ${message}`, exitCode.usage, code ?? 'ERR_INPUT', { cause: error })
    }
  }

  async #readAgain(handle: FileHandle): Promise<Served> {
    const stats = await handle.stat()
    if (!stats.isFile()) throw new CommandError(`${showText(this.file)} is ${stats.isDirectory() ? 'a directory' : 'no regular file, and it is read again when it changes'}; right would be a file`, exitCode.usage, 'ERR_INPUT')
    if (stats.size > 64 * defaultMaxBytes) throw new CommandError(`${showText(this.file)} is too large`, exitCode.usage, 'ERR_INPUT')
    const body = await handle.readFile()
    const text = body.toString()
    await readSigned(text, this.file)
    const served: Served = {
      body,
      zipped: gzipSync(body),
      hash: createHash('sha256').update(body).digest('base64url'),
      // HTTP's dates have whole seconds; rounded up, a change within one would be missed.
      modified: new Date(Math.floor(stats.mtimeMs / 1_000) * 1_000),
      type: text.trimStart().startsWith('{') ? 'application/jose+json' : 'application/jose'
    }
    this.#read = { identity: identityOf(stats), served }
    return served
  }
}

function identityOf({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino}:${size}:${mtimeMs}:${ctimeMs}`
}

interface Served {
  readonly body: Buffer
  readonly zipped: Buffer
  readonly hash: string
  readonly modified: Date
  readonly type: string
}

/** Answers GET and HEAD of one path (RFC 9110: conditional requests, content coding; RFC 9111: caching). */
export function manifestListener(manifest: ServedManifest, { path, maxAge }: Pick<ServeOptions, 'path' | 'maxAge'>, note: (text: string) => void): RequestListener {
  return (request, response) => {
    answer(request, response, manifest, path, maxAge).catch((error: unknown) => {
      note(`not served: ${firstLine((error as Error).message)}`)
      plain(response, 503, { 'Retry-After': '10' })
    })
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, manifest: ServedManifest, path: string, maxAge: number): Promise<void> {
  // No body is ever wanted.
  request.resume()
  if (request.url?.split('?', 1)[0] !== path) return plain(response, 404)
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(response, 405, { Allow: 'GET, HEAD' })
  const { body, zipped, hash, modified, type } = await manifest.current()
  const gzip = takesGzip(request.headers['accept-encoding'])
  // Another representation has another strong tag (RFC 9110 §8.8.3.3).
  const tag = `"${hash}${gzip ? '-gzip' : ''}"`
  const headers = { ETag: tag, 'Last-Modified': modified.toUTCString(), 'Cache-Control': `public, max-age=${maxAge}, no-transform`, Vary: 'Accept-Encoding', 'X-Content-Type-Options': 'nosniff' }
  if (isCurrent(request, tag, modified)) {
    response.writeHead(304, headers).end()
    return
  }
  const content = gzip ? zipped : body
  response.writeHead(200, { ...headers, 'Content-Type': type, 'Content-Length': content.length, ...(gzip && { 'Content-Encoding': 'gzip' }) })
  response.end(request.method === 'HEAD' ? undefined : content)
}

/** RFC 9110 §13.2.2: the date counts only where there is no tag. */
function isCurrent({ headers }: IncomingMessage, tag: string, modified: Date): boolean {
  const tags = headers['if-none-match']
  if (tags !== undefined) return tags.trim() === '*' || tags.split(',').some((each) => each.trim().replace(/^W\//, '') === tag)
  const since = Date.parse(headers['if-modified-since'] ?? '')
  return !Number.isNaN(since) && modified.getTime() <= since
}

/** RFC 9110 §12.5.3, for the one coding that there is. */
function takesGzip(header: string | string[] | undefined): boolean {
  const accepted = new Map(String(header ?? '').split(',').map((each) => {
    const [coding = '', ...parameters] = each.split(';').map((part) => part.trim().toLowerCase())
    const [, weight = '1'] = /^q=([01](?:\.\d{0,3})?)$/.exec(parameters[0] ?? '') ?? []
    return [coding, Number(weight)]
  }))
  return (accepted.get('gzip') ?? accepted.get('x-gzip') ?? accepted.get('*') ?? 0) > 0
}

function plain(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  if (!response.headersSent) response.writeHead(status, { ...headers, 'Content-Length': 0, 'Cache-Control': 'no-store' })
  response.end()
}

async function createServer(listener: RequestListener, { tlsCert, tlsKey }: ServeOptions, { terminal }: Run): Promise<Server> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new CommandError('--tls-cert and --tls-key belong together', exitCode.usage)
  // Nobody has to wait for a client that says nothing.
  const limits = { headersTimeout: 10_000, requestTimeout: 10_000, keepAliveTimeout: 5_000, maxHeaderSize: 16_384 }
  if (tlsCert === undefined || tlsKey === undefined) return createHttpServer(limits, listener)
  const [cert, key] = [await readInput(tlsCert, terminal), await readInput(tlsKey, terminal)]
  try {
    return createHttpsServer({ ...limits, cert, key, minVersion: 'TLSv1.2' }, listener)
  } catch (cause) {
    throw new CommandError(`--tls-cert and --tls-key cannot be used: ${(cause as Error).message}`, exitCode.usage, 'ERR_INPUT', { cause })
  }
}

function listen(server: Server, { host, port }: ServeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(new CommandError(`cannot listen at ${showText(host)}:${port}: ${cause.message}`, exitCode.usage, cause.code ?? 'ERR_USAGE', { cause })))
    server.listen(port, host, resolve)
  })
}

function ended(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
}
