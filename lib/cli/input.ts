import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { CommandError, exitCode } from './exit.js'
import type { Terminal } from './output.js'
import { showText } from './format.js'

/** More than any certificate, key store or pins file; a larger file is a mistake. */
export const maxInputBytes = 10_000_000

/**
 * Reads a whole file that a user named, `-` being standard input.
 *
 * @throws {CommandError} exit code 64 when it cannot be read, is empty, or larger than {@link maxInputBytes}
 */
export async function readInput(path: string, terminal: Pick<Terminal, 'stdin'>): Promise<Buffer> {
  const name = path === '-' ? 'standard input' : showText(path)
  const bytes = path === '-' ? await collect(terminal.stdin, name) : await readFile(path, name)
  if (bytes.length === 0) throw unusable(`${name} is empty`)
  return bytes
}

async function readFile(path: string, name: string): Promise<Buffer> {
  try {
    const stats = await stat(path)
    if (stats.isDirectory()) throw unusable(`${name} is a directory; right would be a file`)
    if (stats.isFile() && stats.size > maxInputBytes) throw tooLarge(name, `${(stats.size / 1_000_000).toFixed(1)} MB`)
    return await collect(createReadStream(path), name)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw error instanceof CommandError ? error : new CommandError(`${name} cannot be read: ${reasons[code ?? ''] ?? (error as Error).message}`, exitCode.usage, code ?? 'ERR_USAGE', { cause: error })
  }
}

const reasons: Record<string, string> = { ENOENT: 'there is no such file', EACCES: 'permission denied', ENOTDIR: 'part of its path is not a directory', ELOOP: 'its symbolic links lead in a circle' }

async function collect(stream: NodeJS.ReadableStream, name: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stream) {
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

function unusable(message: string): CommandError {
  return new CommandError(message, exitCode.usage, 'ERR_INPUT')
}
