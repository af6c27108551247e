import { PassThrough, Readable } from 'node:stream'
import { runProgram } from '../../lib/cli/program.js'

/** What one command line has printed, and its exit code. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** The JSON document on stdout. */
  readonly json: any
}

export interface RunOptions {
  stdin?: string | Buffer
  env?: NodeJS.ProcessEnv
  /** Whether stdout and stderr are terminals. Default: they are pipes. */
  tty?: boolean
}

/** Runs `axios-ssl-pinning <args>` in this process. */
export async function runCommand(args: readonly string[], { stdin = '', env = {}, tty = false }: RunOptions = {}): Promise<Ran> {
  const stdout = sink(tty)
  const stderr = sink(tty)
  const code = await runProgram(args, { stdin: Readable.from([Buffer.from(stdin)]), stdout: stdout.stream, stderr: stderr.stream, env }, '1.2.3')
  return {
    code,
    stdout: stdout.text(),
    stderr: stderr.text(),
    get json() {
      return JSON.parse(stdout.text()) as unknown
    }
  }
}

function sink(tty: boolean): { stream: PassThrough & { isTTY?: boolean }; text: () => string } {
  const chunks: Buffer[] = []
  // cli-progress asks a terminal for its width, and moves its cursor.
  const stream = Object.assign(new PassThrough(), tty && { isTTY: true, columns: 80, rows: 24, cursorTo: () => true, moveCursor: () => true, clearLine: () => true })
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return { stream, text: () => Buffer.concat(chunks).toString() }
}
