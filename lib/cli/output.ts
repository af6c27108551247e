import { fstatSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import pico from 'picocolors'

/** Where a command reads and writes: the process itself, or a test. */
export interface Terminal {
  readonly stdin: NodeJS.ReadableStream
  readonly stdout: Writable & { readonly isTTY?: boolean }
  readonly stderr: Writable & { readonly isTTY?: boolean }
  readonly env: NodeJS.ProcessEnv
}

/** The process's standard output. Into a file Node's own takes a write that the disk had no more room for as done. */
export function openStdout(): Terminal['stdout'] {
  const descriptor = 1
  if (!isFile(descriptor)) return process.stdout
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        for (let written = 0; written < chunk.length; ) written += writeSync(descriptor, chunk, written)
        done()
      } catch (error) {
        done(error as Error)
      }
    }
  })
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile()
  } catch {
    return false
  }
}

export type Colors = ReturnType<typeof pico.createColors>

/** What one command says: results on stdout, everything else on stderr. */
export class Output {
  /** One JSON document on stdout instead of text. */
  readonly json: boolean
  /** Without effect when stdout is no terminal, or `NO_COLOR` is set (https://no-color.org). */
  readonly colors: Colors
  readonly #terminal: Terminal

  constructor(readonly terminal: Terminal, json: boolean) {
    this.#terminal = terminal
    this.json = json
    this.colors = pico.createColors(!json && hasColours(terminal, terminal.stdout))
  }

  /** The result, in the form that was asked for; each result ends with a line break. `text` is only called for people. */
  result(value: unknown, text: () => string): void {
    this.#terminal.stdout.write(`${this.json ? escapeJson(JSON.stringify(value, undefined, 2)) : text()}\n`)
  }

  /** One JSON document a line (`--json` of what goes on and on), or text. */
  line(value: unknown, text: () => string): void {
    this.#terminal.stdout.write(`${this.json ? escapeJson(JSON.stringify(value)) : text()}\n`)
  }

  /** For people: something worth knowing that is not the result. */
  note(text: string): void {
    this.#terminal.stderr.write(`${text}\n`)
  }

  /** A line that shows how far it is, on stderr, only for a person who looks at it. */
  async progress(what: string, total: number): Promise<Progress> {
    const { stderr } = this.#terminal
    if (stderr.isTTY !== true || total < 2) return { tick: () => undefined, stop: () => undefined }
    const { SingleBar } = (await import('cli-progress')).default
    const bar = new SingleBar({ stream: stderr, format: `${what} [{bar}] {value}/{total}`, barCompleteChar: '#', barIncompleteChar: '-', hideCursor: true, clearOnComplete: true, barsize: 30 })
    bar.start(total, 0)
    return { tick: () => bar.increment(), stop: () => bar.stop() }
  }
}

export interface Progress {
  tick(): void
  stop(): void
}

/** Whether a stream is a terminal whose user has not asked for plain text. */
export function hasColours({ env }: Terminal, stream: Terminal['stdout']): boolean {
  return stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
}

/** The same JSON, without what could move a terminal's cursor or reverse its reading (JSON itself escapes only some of it). */
export function escapeJson(json: string): string {
  return json.replaceAll(/[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => [...Array(character.length).keys()].map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''))
}
