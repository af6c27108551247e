import type { Command } from 'commander'
import { pinOf } from '../pin/spki.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { exitCode } from './exit.js'
import { readInput } from './input.js'

/** `pin <file…>`: the pins of certificates, keys and certificate requests. */
export function pinCommand(run: Run): Command {
  return createCommand('pin', 'Print the pin of a certificate, a public or private key, or a certificate request (PEM or DER).')
    .argument('<file...>', 'files, or - for standard input')
    .action(
      action(run, async (output, files: string[]) => {
        const pins: Array<{ file: string; pin: string }> = []
        for (const file of files) pins.push({ file, pin: pinOf(await readInput(file, run.terminal)) })
        output.result(pins, () => pins.map(({ file, pin }) => (pins.length > 1 ? `${pin}  ${file}` : pin)).join('\n'))
        return exitCode.ok
      })
    )
}
