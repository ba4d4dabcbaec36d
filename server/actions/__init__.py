"""Every change that a person or a program may ask for. Pages, API and commands all end here.

An action returns a change for `Store.write`: it checks and writes rows, audits, and does nothing outside. It raises
`server.errors.*`. People's actions and the permission that each needs (`core.access` has the roles):

    jobs        create update delete hold release                               jobs.change
    imports     import_file                                                     jobs.change
    exports     import_all                                       jobs.change and agents.manage
    workflows   create update roll_back delete hold release                     jobs.change
    monitors    create update delete enable disable                             jobs.change
                fire                                                            runs.start
    calendars   create update delete import_file                                jobs.change
    exceptions  put remove                                                      jobs.change
    runs        run_now rerun                                                   runs.start
                cancel kill                                                     runs.stop
    workflow_runs  run resume restart                                           runs.start
                cancel kill suspend give_up                                     runs.stop
    checkpoints  resume                                                         runs.start
                suspend withdraw_suspend dismiss                                runs.stop
    silence     declare_dead                                                    agents.manage
                rerun                                                           runs.start
                dismiss                                                         missed.resolve
    environments  put delete put_set delete_set                                 jobs.change
    resources   put delete                                                      jobs.change
    variables   put delete                                                      jobs.change
    missed      run run_all dismiss dismiss_all                                 missed.resolve
    asides      retry dismiss                                                   missed.resolve
    gates       lock_all unlock_all lock unlock stop_scheduler start_scheduler  gates.change
    maintenance  start end                     maintenance.change; gates.change for that of an agent
    requests    withdraw_stop                                                   runs.stop
    drains      drain undrain                                                   gates.change
                configure                                                       agents.manage
    agents      invite remove replace accept_restored set_start_alone           agents.manage
    witnesses   choose                                                          agents.manage
    nodes       put remove                                                      nodes.manage
    authorities  begin cancel advance                                 certificates.manage
    users       create update_role disable enable unlock                        users.manage
                change_password                               users.manage; nothing for one's own
    roles       create update delete                                            users.manage, of the host
    second_factor  begin confirm remove                                         sessions.own
                reset                                                           users.manage
                require_of_role                                                 users.manage, of the host
    passkeys    register rename remove                                          sessions.own
    linked_accounts  link                                                     sessions.own
                unlink                                                          users.manage
    tokens      create revoke                         tokens.own; users.manage for those of others
    tenants     create update close reopen give_agent                          tenants.manage
    sessions    end                                           sessions.own; sessions.manage for those of others
                end_all                                                         sessions.manage
    settings    put                                                             settings.change
    sign_in_ways  put_proxy put_passkeys put_provider                           settings.change, and every other
    allowed_hosts  put                                                          settings.change
    swap        begin                                                           swap.run
                request_abort                                                   swap.abort
    notifications  put_list delete_list                                         notifications.change
                put_smtp                                                        settings.change
                send_test                                                       jobs.change
    messages    acknowledge acknowledge_all                                     messages.acknowledge
    audit       put_verified                                                    audit.read
    maintenance_windows  add remove                                             maintenance.change
    announcements  put switch                                                   messages.change
                dismiss                                                         sessions.own
    history     adopt                                                           history.adopt
    forks       adopt                                                           history.adopt
                delete                                                          forks.delete

Without a permission, because what they are given proves who asks:

    agents.enrol            a join token
    sessions.create         a checked password
    sessions.hand_over      the former master's word
    sessions.prove_again    a checked password or code

By the program itself, for the parts that live in office:

    audit.note
    authorities.found
    authorities.note
    blackouts.account
    checkpoints.mark_suspends_sent
    events
    forks.add
    forks.add_output
    forks.begin
    forks.complete
    forks.deleted
    job_monitors.look_due
    linked_accounts.enter
    maintenance.go_on
    maintenance_windows.go_on
    messages.add
    notifications.settle
    order_ledger
    orders
    outcomes
    quarantine
    reconciliation
    reports
    requests.mark_stops_sent
    retention.prune
    retries.begin_due
    runs.agent_is_back
    runs.submit_waiting
    sessions.note_seen
    sessions.prune
    sessions.record_failures
    sign_in_ways.make_user
    silence.give_up
    silence_notices
    swap.finish
    swap.put_steps
    swap.update_step
    tokens.note_uses
    tokens.warn_expiring
    users.lock
    withheld_runs
    witnesses.drop_former
    witnesses.lose
"""
