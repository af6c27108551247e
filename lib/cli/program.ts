import { types } from 'node:util'
import { Command, CommanderError } from 'commander'
import pico from 'picocolors'
import { PinsFileInvalidError, findPinningError } from '../errors.js'
import type { FileProblem } from '../errors.js'
import { checkCommand } from './check.js'
import { exitCodeHelp } from './command.js'
import type { CommandMaker, Run } from './command.js'
import { CommandError, exitCode } from './exit.js'
import type { ExitCode } from './exit.js'
import { firstLine } from './format.js'
import { inspectCommand } from './inspect.js'
import { manifestCommand } from './manifest/manifest.js'
import { convertCommand } from './convert.js'
import { escapeJson, hasColours } from './output.js'
import type { Terminal } from './output.js'
import { pinCommand } from './pin.js'
import { renewalCommand } from './renewal.js'

/** In the order of the help. */
const commands: readonly CommandMaker[] = [inspectCommand, checkCommand, pinCommand, convertCommand, renewalCommand, manifestCommand]

/**
 * Runs one command line.
 *
 * @param args without node's and the script's path
 * @returns the exit code: {@link exitCode}. Never rejects: an error is one line on stderr, or JSON on stdout with `--json`.
 */
export async function runProgram(args: readonly string[], terminal: Terminal, version: string): Promise<ExitCode> {
  const run: Run = { terminal, exitCode: exitCode.ok }
  try {
    await createProgram(run, version).parseAsync([...args], { from: 'user' })
    return run.exitCode
  } catch (error) {
    return tell(error, args, terminal)
  }
}

function createProgram(run: Run, version: string): Command {
  const { stdout, stderr } = run.terminal
  const program = new Command('axios-ssl-pinning')
    .description('Pins for TLS connections: makes them, checks them, and carries them through renewals.')
    .version(version)
    .addHelpText('after', `\n${exitCodeHelp}`)
    .showSuggestionAfterError()
  for (const make of commands) program.addCommand(make(run))
  for (const command of [program, ...program.commands, ...program.commands.flatMap((each) => each.commands)]) {
    command
      .exitOverride()
      .configureHelp({ showGlobalOptions: false })
      // Errors are told in one place: below.
      .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text), outputError: () => undefined, getOutHasColors: () => hasColours(run.terminal, stdout) })
  }
  return program
}

function tell(error: unknown, args: readonly string[], terminal: Terminal): ExitCode {
  if (error instanceof CommanderError && error.exitCode === 0) return exitCode.ok
  // Without a command commander has printed its help to stderr.
  if (error instanceof CommanderError && error.code === 'commander.help') return exitCode.usage
  const { exit, ...told } = explain(error)
  if (args.includes('--json')) {
    terminal.stdout.write(`${escapeJson(JSON.stringify({ error: told, exitCode: exit }, undefined, 2))}\n`)
  } else {
    const { red } = pico.createColors(hasColours(terminal, terminal.stderr))
    terminal.stderr.write(`${red('axios-ssl-pinning:')} ${told.message}\n`)
  }
  return exit
}

interface Told {
  readonly code: string
  readonly message: string
  readonly exit: ExitCode
  /** Of a pins file, all of them with their lines. */
  readonly problems?: readonly FileProblem[]
}

function explain(error: unknown): Told {
  if (error instanceof CommanderError) return { code: 'ERR_USAGE', message: firstLine(error.message.replace(/^error: /, '').replaceAll('\n', ' ')), exit: exitCode.usage }
  if (error instanceof CommandError) return { code: error.code, message: firstLine(error.message), exit: error.exitCode }
  if (error instanceof PinsFileInvalidError) {
    const { code, problems } = error
    return { code, message: `${firstLine(error.message)}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''}`, exit: exitCode.usage, problems }
  }
  const pinning = findPinningError(error)
  // What is wrong with a pin or a policy was in the user's own file or arguments.
  if (pinning) return { code: pinning.code, message: firstLine(pinning.message), exit: pinning.code.endsWith('INVALID') ? exitCode.usage : exitCode.refused }
  const message = types.isNativeError(error) ? error.message : String(error)
  return { code: 'ERR_INTERNAL', message: `this should not have happened, please report it: ${firstLine(message)}`, exit: exitCode.internal }
}
