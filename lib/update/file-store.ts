import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import type { PinSetState, PinSetStore } from './store.js'

export function fileStore(folder: string): PinSetStore {
  if (typeof folder !== 'string' || folder === '' || folder.includes('\0')) throw new PolicyInvalidError('fileStore', `the folder must be a path, not ${typeof folder === 'string' ? JSON.stringify(folder) : describeType(folder)}`)
  return new FileStore(resolve(folder))
}

class FileStore implements PinSetStore {
  readonly name: string
  readonly #folder: string

  constructor(folder: string) {
    this.name = `file ${folder}`
    this.#folder = folder
  }

  load(): Promise<PinSetState | undefined> {
    return again(() => this.#load())
  }

  async save(state: PinSetState): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    try {
      await this.#saveWhole(state)
    } catch (error) {
      await this.#mark(state).catch(() => undefined)
      throw error
    }
  }

  async #saveWhole(state: PinSetState): Promise<void> {
    const length = [state.text ?? '', ...state.links].reduce((sum, text) => sum + text.length, 0)
    if (length > maxLength) throw new Error(`the signed set and the links to its keys take ${length} bytes; at most ${maxLength} are stored, and of this one its version alone is`)
    await again(() => this.#save(state))
  }

  async #save(state: PinSetState): Promise<void> {
    const content = Buffer.from(JSON.stringify(contentOf(state)))
    const entries = await this.#list()
    const [highest] = entries
    if (highest && highest.version > state.version) return
    const checksum = checksumOf(content)
    const known = entries.find((each) => each.version === state.version && each.checksum === checksum && !each.damaged)
    if (!known || (await this.#read(known)) === undefined) await this.#write({ version: state.version, hash: state.hash, checksum }, content)
    await this.#prune()
  }

  async #load(): Promise<PinSetState | undefined> {
    const entries = await this.#list()
    const [highest] = entries
    if (!highest) return undefined
    let found: PinSetState | undefined
    for (const entry of entries) {
      const state = entry.damaged ? undefined : await this.#read(entry)
      if (state?.text === undefined) continue
      found = state
      break
    }
    if (found?.version === highest.version) return found
    // Its set is lost, and an older one is not taken instead; but how the signing keys came about is still true, and that one may have changed them.
    const { links = [], text } = found ?? {}
    return { version: highest.version, hash: highest.hash, text: undefined, links: text === undefined ? links : [...links, text] }
  }

  /** The state in a file; `undefined` when it is damaged, and then it has been set aside, where that is possible. Its name tells the version either way. */
  async #read(entry: Entry): Promise<PinSetState | undefined> {
    const path = join(this.#folder, entry.file)
    const content = await readRegular(path)
    const state = content !== undefined && checksumOf(content) === entry.checksum ? parseContent(content) : undefined
    if (state && state.version === entry.version && state.hash === entry.hash) return state
    await rename(path, `${path}${damagedSuffix}`).catch(() => undefined)
    return undefined
  }

  async #write(named: Pick<Entry, 'version' | 'hash' | 'checksum'>, content: Buffer): Promise<void> {
    const entry = { ...named, file: fileName(named), damaged: false }
    const { default: writeFileAtomic } = await import('write-file-atomic')
    await writeFileAtomic(join(this.#folder, entry.file), content, { mode: 0o600, fsync: true })
    await syncFolder(this.#folder)
    // A disk that is nearly full takes a part of a write without an error.
    if ((await this.#read(entry)) === undefined) throw new Error(`what was written to ${this.#folder} is not what is found there: is the disk full?`)
  }

  /** Leaves an empty file whose name tells the version and the hash, which must not be lost: a disk that is full has room for a name. */
  async #mark({ version, hash }: PinSetState): Promise<void> {
    if ((await this.#list()).some((each) => each.version >= version)) return
    const file = fileName({ version, hash, checksum: checksumOf(Buffer.alloc(0)) })
    const handle = await open(join(this.#folder, `${file}${damagedSuffix}`), 'wx', 0o600)
    await handle.close()
    await syncFolder(this.#folder)
    await this.#prune()
  }

  /** Removes what is older than a newer file that is there. What fails is left for the next time. */
  async #prune(): Promise<void> {
    const entries = await this.#list()
    const whole = entries.filter((each) => !each.damaged)
    const versions = [...new Set(whole.map((each) => each.version))].slice(0, versionsKept)
    const oldest = versions.at(-1) ?? 0
    const twins = whole.filter((each) => whole.some((other) => other.version === each.version && other.checksum === each.checksum && other.file < each.file))
    const damaged = entries.filter((each) => each.damaged).slice(versionsKept)
    const stale = [...new Set([...whole.filter((each) => each.version < oldest), ...twins, ...damaged])].map((each) => each.file)
    const abandoned = await this.#abandoned()
    for (const file of [...stale, ...abandoned]) await unlink(join(this.#folder, file)).catch(() => undefined)
  }

  /** Temporary files of processes that were killed. */
  async #abandoned(): Promise<string[]> {
    const files: string[] = []
    for (const file of await readdir(this.#folder)) {
      if (!temporaryName.test(file)) continue
      const stats = await stat(join(this.#folder, file)).catch(() => undefined)
      if (stats && Date.now() - stats.mtimeMs > abandonedAfterMs) files.push(file)
    }
    return files
  }

  /** Highest version first; what is not named as our files are is none of our business. */
  async #list(): Promise<Entry[]> {
    const folder = await stat(this.#folder).catch(ignoreMissing)
    if (!folder) return []
    if (process.platform !== 'win32' && (folder.mode & 0o002) !== 0) {
      throw new Error(`everybody may write to ${this.#folder}, and so undo what is stored there; right would be mode 0700, or a folder in it that does not exist yet`)
    }
    const entries = (await readdir(this.#folder)).flatMap((file) => {
      const [, version, hash, checksum, damaged] = entryName.exec(file) ?? []
      return version && hash && checksum && Number.isSafeInteger(Number(version)) ? [{ file, version: Number(version), hash, checksum, damaged: damaged !== undefined }] : []
    })
    return entries.sort((a, b) => b.version - a.version || (a.file < b.file ? -1 : 1))
  }
}

function fileName({ version, hash, checksum }: Pick<Entry, 'version' | 'hash' | 'checksum'>): string {
  // The random part keeps the temporary files of two containers apart, whose processes have the same number.
  const file = `${version}.${hash}.${checksum}.${randomBytes(8).toString('hex')}.json`
  if (!entryName.test(file)) throw new TypeError(`version ${String(version)} with the hash ${JSON.stringify(hash)} is no state of a pin set`)
  return file
}

interface Entry {
  readonly file: string
  readonly version: number
  /** Of the set's payload: {@link PinSetState.hash}. */
  readonly hash: string
  /** SHA-256 of the file's content, hex. */
  readonly checksum: string
  readonly damaged: boolean
}

/** Starts again when another process has saved, and removed what was about to be read: there is something newer then. */
async function again<T>(act: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await act()
    } catch (error) {
      if (!(error instanceof RemovedMeanwhile) || tries === maxTries) throw error
    }
  }
}

class RemovedMeanwhile extends Error {}

const damagedSuffix = '.damaged'
const entryName = /^(\d{1,16})\.([\w-]{43})\.([0-9a-f]{64})\.[0-9a-f]{16}\.json(\.damaged)?$/
const temporaryName = /^\d{1,16}\.[\w-]{43}\.[0-9a-f]{64}\.[0-9a-f]{16}\.json\.\d{1,10}$/

// The newest is used; from the ones before, the links to the signing keys can be had should it be damaged.
const versionsKept = 3
const abandonedAfterMs = 3_600_000
// The longest set there may be (`updates.maxBytes`), and as much again for the links to its keys.
const maxLength = 2 * 64 * 1024 * 1024
// As JSON in JSON: white space and quotation marks take twice as much.
const maxBytes = 2 * maxLength + 1_000_000
const maxTries = 20

/** `undefined` when it is no regular file, or longer than any of ours. */
async function readRegular(path: string): Promise<Buffer | undefined> {
  let handle: FileHandle
  try {
    // Neither a link to elsewhere, nor a pipe that would never end.
    handle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new RemovedMeanwhile(`${path} was removed while it was to be read`, { cause: error })
    if (code === 'ELOOP' || code === 'ENXIO') return undefined
    throw error
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile() || stats.size > maxBytes) return undefined
    const content = Buffer.alloc(stats.size)
    for (let length = 0; length < content.length; ) {
      const { bytesRead } = await handle.read(content, length, content.length - length, length)
      if (bytesRead === 0) return undefined
      length += bytesRead
    }
    return content
  } finally {
    await handle.close()
  }
}

function parseContent(content: Buffer): PinSetState | undefined {
  try {
    return contentOf(JSON.parse(content.toString('utf8')) as PinSetState)
  } catch {
    return undefined
  }
}

function contentOf({ version, hash, text, links }: PinSetState): PinSetState {
  return { version, hash, text, links: [...links] }
}

function checksumOf(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** So that the new name survives a power cut before anything older is removed. Not every system can: Windows cannot. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r').catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}
