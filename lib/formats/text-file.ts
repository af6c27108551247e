import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'

/**
 * Reads a text file of at most `maxBytes`, synchronously. Never waits for a pipe or a device.
 *
 * @param option where the path was given, for error texts
 * @throws {TypeError} for what is no path
 * @throws {PolicyInvalidError} when it cannot be read, is no regular file, is too large, empty or not UTF-8
 */
export function readTextFile(path: string | URL, maxBytes: number, option: string): string {
  const name = pathOf(path, option)
  const bytes = readFileBytes(name, maxBytes, option)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    if (text.trim() === '') throw new PolicyInvalidError(option, `${name} is empty`)
    return text
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw error
    throw new PolicyInvalidError(option, `${name} is not a UTF-8 text`)
  }
}

/** @throws {TypeError} for anything but a path or a `file:` URL */
export function pathOf(path: unknown, option: string): string {
  if (path instanceof URL && path.protocol === 'file:') return fileURLToPath(path)
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return path
  throw new TypeError(`${option} must be the path of a file, not ${path === '' ? 'an empty string' : describeType(path)}`)
}

/**
 * Reads a regular file of at most `maxBytes`, synchronously. Never waits for a pipe or a device.
 * @throws {PolicyInvalidError}
 */
export function readFileBytes(name: string, maxBytes: number, option: string): Buffer {
  let descriptor: number
  try {
    // Opening a pipe that nobody writes to would wait for ever.
    descriptor = openSync(name, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (cause) {
    throw unreadable(name, option, cause)
  }
  try {
    const { size } = checkFile(descriptor, name, option)
    if (size > maxBytes) throw new PolicyInvalidError(option, `${name} has ${size} bytes; at most ${maxBytes} are read`)
    // One more than the file is said to have, to see one that grows.
    const bytes = Buffer.alloc(maxBytes < size + 1 ? maxBytes + 1 : size + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read) read = readSync(descriptor, bytes, length, bytes.length - length, null)
    if (length > size) throw new PolicyInvalidError(option, `${name} changed while it was read; replace it by renaming a new file over it`)
    return bytes.subarray(0, length)
  } catch (cause) {
    throw cause instanceof PolicyInvalidError ? cause : unreadable(name, option, cause)
  } finally {
    closeSync(descriptor)
  }
}

function checkFile(descriptor: number, name: string, option: string): { size: number } {
  const stat = fstatSync(descriptor)
  if (stat.isDirectory()) throw new PolicyInvalidError(option, `${name} is a directory; right would be a file`)
  if (!stat.isFile()) throw new PolicyInvalidError(option, `${name} is not a regular file`)
  return stat
}

function unreadable(name: string, option: string, cause: unknown): PolicyInvalidError {
  const { code } = cause as NodeJS.ErrnoException
  const why = { ENOENT: 'does not exist', EACCES: 'may not be read by this user', EISDIR: 'is a directory; right would be a file' }[code ?? ''] ?? `cannot be read (${code ?? String(cause)})`
  return new PolicyInvalidError(option, `${name} ${why}`, { cause })
}
