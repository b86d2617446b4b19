schema: proc/1
id: flash.esp.app
version: "1.0"
title: Program the application of the ESP
kind: flash
target: {ecu: ESP, la: 0x1001, part: [A0009051234], hw: [HW07]}
budget: {total_s: 900, pending_total_s: 120}
inputs:
  image: {type: artifact}

preconditions:
  - {id: ubat, name: Supply voltage, read: 0x2110, decode: u16, scale: 0.01, unit: V, limits: {ge: 12.5, le: 14.8}, hold_s: 1, on_fail: abort}

steps:
  - {id: ext, session: 3, functional: true}
  - {id: ready, name: Programming preconditions, routine: 0x0203, expect: {byte0: 0}, writes: false}
  - {id: quiet, dtc_setting: off, comm: disable_tx, functional: true}
  - {id: prog, session: 2}
  - {id: unlock, security: {level: 0x11, signer: backend}}
  - {id: fingerprint, name: Write the fingerprint, write: 0xF15A, value: "${job.id}"}
  - id: erase
    name: Erase the program memory
    routine: 0xFF00
    expect: {byte0: 0}
    writes: true
    point_of_no_return: true
    timeout_s: 30
    on_link_loss: {restart_from: ext, max_restarts: 2}
  - id: load
    name: Transfer the image
    download: {artifact: image}
    on_link_loss: {restart_from: ext, max_restarts: 2}
  - {id: check, name: Compare the checksum, routine: 0x0202, option: "${image.crc32}", expect: {byte0: 0}, writes: true}
  - {id: depends, name: Check the dependencies, routine: 0xFF01, expect: {byte0: 0}, writes: true}
  - {id: reset, reset: hard, reconnect_s: 15}

verify:
  - {id: software, name: Software version, read: 0xF189, equals: "${image.version}"}
  - {id: author, name: Fingerprint, read: 0xF15A, equals: "${job.id}"}
  - {id: faults, dtcs: {mask: 0x09, allow: [0x42C129]}}

cleanup: [restore_comm, restore_dtc, session_default]
