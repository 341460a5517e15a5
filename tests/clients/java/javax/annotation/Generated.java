package javax.annotation;

/** What generated code is marked with: the JDK has had it up to version 8, and Maven's users have it from a jar. */
public @interface Generated {
    String[] value();

    String date() default "";

    String comments() default "";
}
