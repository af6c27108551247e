import { constants, createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { CommandError, exitCode } from './exit.js'
import { showText } from './format.js'
import type { Terminal } from './output.js'

/** More than any certificate, key store or pins file; a larger file is a mistake. */
export const maxInputBytes = 10_000_000

/**
 * Reads a whole file that a user named, `-` being standard input.
 *
 * @throws {CommandError} exit code 64 when it cannot be read, is empty, larger than {@link maxInputBytes}, or a pipe that
 *   brings nothing for a minute
 */
export async function readInput(path: string, terminal: Pick<Terminal, 'stdin'>): Promise<Buffer> {
  const name = path === '-' ? 'standard input' : showText(path)
  const bytes = path === '-' ? await collect(idleEnds(terminal.stdin, name), name) : await readFile(path, name)
  if (bytes.length === 0) throw unusable(`${name} is empty`)
  return bytes
}

/** @throws {CommandError} exit code 64 for what is not UTF-8 */
export function decodeInput(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw unusable(`${showText(name)} is not a UTF-8 text`, cause)
  }
}

async function readFile(path: string, name: string): Promise<Buffer> {
  let handle: FileHandle | undefined
  try {
    // Not waiting for a writer: opening a pipe that has none would block a thread of the pool, and with it the exit.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const stats = await handle.stat()
    if (stats.isDirectory()) throw unusable(`${name} is a directory; right would be a file`)
    if (stats.isFile() && stats.size > maxInputBytes) throw tooLarge(name, `${(stats.size / 1_000_000).toFixed(1)} MB`)
    return await collect(stats.isFIFO() ? readPipe(handle, name) : createReadStream('', { fd: handle, autoClose: false }), name)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw error instanceof CommandError ? error : new CommandError(`${name} cannot be read: ${reasons[code ?? ''] ?? (error as Error).message}`, exitCode.usage, code ?? 'ERR_INPUT', { cause: error })
  } finally {
    await handle?.close()
  }
}

const reasons: Record<string, string> = { ENOENT: 'there is no such file', EACCES: 'permission denied', ENOTDIR: 'part of its path is not a directory', ELOOP: 'its symbolic links lead in a circle' }

const idleMs = 60_000
const pollMs = 20

/** A pipe between programs, `<(openssl …)` for one; before its writer has come it looks as if it had ended. */
async function* readPipe(handle: FileHandle, name: string): AsyncIterable<Buffer> {
  const chunk = Buffer.alloc(65_536)
  let any = false
  for (let waitedMs = 0; waitedMs < idleMs; waitedMs += pollMs) {
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, null).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      return { bytesRead: -1 }
    })
    if (bytesRead === 0 && any) return
    if (bytesRead > 0) {
      yield Buffer.from(chunk.subarray(0, bytesRead))
      any = true
      waitedMs = -pollMs
    } else await sleep(pollMs)
  }
  throw idle(name)
}

/** Standard input that brings nothing for a minute ends; a person may take longer. */
async function* idleEnds(stream: Terminal['stdin'], name: string): AsyncIterable<Buffer | string> {
  const chunks = stream[Symbol.asyncIterator]()
  const patient = (stream as { isTTY?: boolean }).isTTY === true
  for (;;) {
    const wait = new AbortController()
    const late = sleep(patient ? 2 ** 31 - 1 : idleMs, undefined, { signal: wait.signal }).then(() => {
      throw idle(name)
    })
    late.catch(() => undefined)
    const next = await Promise.race([chunks.next(), late]).finally(() => wait.abort())
    if (next.done) return
    yield next.value
  }
}

async function collect(source: AsyncIterable<Buffer | string>, name: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > maxInputBytes) throw tooLarge(name, `more than ${maxInputBytes / 1_000_000} MB`)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}

function tooLarge(name: string, size: string): CommandError {
  return unusable(`${name} is too large (${size}); at most ${maxInputBytes / 1_000_000} MB are read`)
}

function idle(name: string): CommandError {
  return unusable(`${name} brought nothing for ${idleMs / 1_000} seconds`)
}

function unusable(message: string, cause?: unknown): CommandError {
  return new CommandError(message, exitCode.usage, 'ERR_INPUT', { cause })
}
